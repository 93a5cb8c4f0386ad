package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// asIssuer is the variable that makes this test program a Remote's other end.
const asIssuer = "BENCH_AS_ISSUER"

func TestMain(m *testing.M) {
	if delay, err := time.ParseDuration(os.Getenv(asIssuer)); err == nil {
		serveRemote(delay)
		return
	}
	os.Exit(m.Run())
}

// Remote is an issuer in a process of its own, as every issuer is: in one process
// with a thousand callers its answer would have to wait for a turn behind them.
type Remote struct {
	URL     string
	IDToken string // of a user of one organization, for the session to begin with
}

// newRemote starts an issuer that takes its time for each token request.
func newRemote(tb testing.TB, delay time.Duration) *Remote {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), asIssuer+"="+delay.String())
	cmd.Stderr = os.Stderr
	stop, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = stop.Close()
		_ = cmd.Wait()
	})
	remote := &Remote{}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || json.Unmarshal([]byte(line), remote) != nil {
		tb.Fatalf("the issuer says %q, %v", line, err)
	}
	return remote
}

// tokenRequests is how many have reached it.
func (r *Remote) tokenRequests(tb testing.TB) (count int64) {
	resp, err := http.Get(r.URL + "/requests")
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := fmt.Fscan(resp.Body, &count); err != nil {
		tb.Fatal(err)
	}
	return count
}

// serveRemote is the issuer's process. It ends with its standard input, and so with
// the process that started it.
func serveRemote(delay time.Duration) {
	is := NewIssuer()
	defer is.Close()
	is.Delay.Store(int64(delay))
	idToken := is.IDToken(1)
	is.SetAnswer(idToken)
	is.mux.HandleFunc("/requests", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, strings.NewReader(fmt.Sprint(is.TokenRequests.Load())))
	})
	fmt.Println(string(mustJSON(Remote{is.URL, idToken})))
	_, _ = io.Copy(io.Discard, os.Stdin)
}
