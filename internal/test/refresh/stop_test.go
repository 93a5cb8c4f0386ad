//go:build unix

package refresh_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// sleeperEnv makes this test binary a process that is stopped while it refreshes.
const sleeperEnv = "AUTHPI_TEST_SLEEPER"

// The limit of one refresh, and how long a process is stopped in the middle of it. On a
// busy machine it may run for seconds until then.
const (
	sleeperLimit = 10 * time.Second
	sleeperStop  = 11 * time.Second
)

// sleeper is such a process, and when it is stopped.
type sleeper struct {
	Name      string
	Moment    string
	Endpoints authpi.Endpoints
	ClientID  string
	Tokens    authpi.TokenSet

	started chan struct{} // closed when all below is set
	cmd     *exec.Cmd
	in      io.Writer
	out     io.Reader
	faults  bytes.Buffer // its own until it has ended
}

// moments are when a process is stopped. The last two are its own callbacks.
var moments = []string{"answer in the socket", "half an answer in the socket", "answer after waking", "keys in the socket", "Reload", "OnRefresh"}

// said is what a sleeper prints, one JSON object to a line.
type said struct {
	Moment string          // it is at one of its own
	Tries  int             // CreateAgent was called
	Err    string          // of the last one
	Stored authpi.TokenSet // by OnRefresh
	Calls  int             // of it
}

// TestSleeper is the process. It calls CreateAgent until that works or the session is over,
// as an app's next requests would.
func TestSleeper(t *testing.T) {
	config := os.Getenv(sleeperEnv)
	if config == "" {
		t.Skip("this is for TestStoppedProcessLosesNoSession")
	}
	var s sleeper
	if err := json.Unmarshal([]byte(config), &s); err != nil {
		t.Fatal(err)
	}
	in, out := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	stop := func(moment string) {
		if moment == s.Moment {
			_ = out.Encode(said{Moment: moment})
			_, _ = in.ReadString('\n')
		}
	}
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: s.Endpoints.Issuer, ClientID: s.ClientID, Endpoints: s.Endpoints, RefreshTimeout: sleeperLimit,
	})
	if err != nil {
		t.Fatal(err)
	}
	result := said{}
	opts := &authpi.AgentOptions{
		Reload: func(context.Context) (authpi.TokenSet, error) { stop("Reload"); return s.Tokens, nil },
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
			stop("OnRefresh")
			result.Stored = tokens
			result.Calls++
			return nil
		},
	}
	for err = context.DeadlineExceeded; err != nil && !authpi.SessionEnded(err) && result.Tries < 5; result.Tries++ {
		_, err = client.CreateAgent(context.Background(), s.Tokens, opts)
	}
	if err != nil {
		result.Err = err.Error()
	}
	_ = out.Encode(result)
}

// stop stops the process, and wakes it later. It returns once the process has stopped.
func (s *sleeper) stop(t *testing.T) (woken chan struct{}) {
	woken = make(chan struct{})
	<-s.started
	pid := s.cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Errorf("%s: %v", s.Name, err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Errorf("%s: got status %v, %v; want it stopped", s.Name, status, err)
	}
	go func() {
		defer close(woken)
		time.Sleep(sleeperStop)
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}()
	return woken
}

// dormitory is an issuer that stops the processes that ask it.
type dormitory struct {
	t      *testing.T
	issuer http.Handler
	byName sync.Map // *sleeper, by the name that its requests have
}

func (d *dormitory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, ok := d.byName.Load(r.URL.Query().Get("sleeper"))
	if !ok {
		d.issuer.ServeHTTP(w, r)
		return
	}
	s := found.(*sleeper)
	keys := strings.Contains(r.URL.Path, "jwks")
	r.URL.RawQuery = ""
	answer := httptest.NewRecorder()
	d.issuer.ServeHTTP(answer, r)
	if keys != (s.Moment == "keys in the socket") {
		send(w, answer, answer.Body.Len())
		return
	}
	switch s.Moment {
	case "answer in the socket", "keys in the socket":
		s.stop(d.t)
	case "half an answer in the socket":
		send(w, answer, answer.Body.Len()/2)
		s.stop(d.t)
	case "answer after waking":
		<-s.stop(d.t)
	}
	send(w, answer, answer.Body.Len())
}

// send sends the next bytes of an answer.
func send(w http.ResponseWriter, answer *httptest.ResponseRecorder, size int) {
	if w.Header().Get("Content-Length") == "" {
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Length", fmt.Sprint(answer.Body.Len()))
		w.WriteHeader(answer.Code)
	}
	_, _ = w.Write(answer.Body.Next(size))
	_ = http.NewResponseController(w).Flush()
}

// start starts the process.
func (s *sleeper) start(t *testing.T, self string) {
	t.Helper()
	config, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(self, "-test.run=^TestSleeper$", "-test.count=1")
	s.cmd.Env = append(os.Environ(), sleeperEnv+"="+string(config), "GORACE=atexit_sleep_ms=0")
	s.cmd.Stderr = &s.faults
	if s.out, err = s.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	close(s.started)
}

// result is what the process says at its end. On the way it is stopped where it says.
func (s *sleeper) result(t *testing.T) (result said) {
	lines := json.NewDecoder(s.out)
	for {
		result = said{}
		if err := lines.Decode(&result); err != nil {
			t.Errorf("%s: %v", s.Name, err)
			break
		}
		if result.Moment == "" {
			break
		}
		<-s.stop(t)
		_, _ = io.WriteString(s.in, "\n")
	}
	_, _ = io.Copy(io.Discard, s.out)
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", s.Name, err, s.faults.String())
	}
	return result
}

// A process is stopped in the middle of a refresh, for longer than RefreshTimeout: its
// container is paused, its function frozen. What has come meanwhile is used when it wakes.
func TestStoppedProcessLosesNoSession(t *testing.T) {
	t.Parallel()
	if os.Getenv(sleeperEnv) != "" {
		t.Skip("this is a process of its own")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rooms := &dormitory{t: t}
	web := httptest.NewUnstartedServer(rooms)
	origin := "http://" + web.Listener.Addr().String()
	issuer := authpitest.NewInMemory(&authpitest.Options{BaseURL: origin})
	rooms.issuer = issuer.Handler()
	testkit.AddAda(issuer)
	web.Start()
	defer web.Close()
	defer issuer.Close()
	client := testkit.NewClient(t, issuer, nil)

	const processes = 24
	var wg sync.WaitGroup
	for n := range processes {
		s := &sleeper{Name: fmt.Sprint("process ", n), Moment: moments[n%len(moments)], ClientID: issuer.ClientID(), started: make(chan struct{})}
		name := fmt.Sprint("?sleeper=", n)
		s.Endpoints = authpi.Endpoints{
			Issuer: issuer.URL, Token: issuer.URL + "/token" + name, UserInfo: issuer.URL + "/userinfo",
			JWKS: issuer.URL + "/jwks.json" + name,
		}
		s.Tokens = testkit.SignIn(t, client, issuer, nil).Tokens
		s.Tokens.ExpiresAt = time.Now().Add(-time.Second)
		rooms.byName.Store(fmt.Sprint(n), s)
		s.start(t, self)
		wg.Go(func() {
			got := s.result(t)
			if got.Err != "" || got.Tries != 1 || got.Calls != 1 || got.Stored.IDToken == "" || got.Stored.RefreshToken == s.Tokens.RefreshToken || !issuer.SessionAlive(got.Stored.RefreshToken) {
				t.Errorf("%s, stopped at %s: got %q after %d calls, %d sets stored, session alive %v; want the new set at once",
					s.Name, s.Moment, got.Err, got.Tries, got.Calls, issuer.SessionAlive(s.Tokens.RefreshToken))
			}
		})
	}
	wg.Wait()
	if got := issuer.Redemptions("refresh_token"); got != processes || issuer.Grants("refresh_token") != processes {
		t.Errorf("got %d requests, %d of them good; want %d, and no token sent twice", issuer.Grants("refresh_token"), got, processes)
	}
}
