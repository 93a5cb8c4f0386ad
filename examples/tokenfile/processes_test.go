package tokenfile

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// workerEnv makes this binary one of several processes that share a file.
const workerEnv = "TOKENFILE_TEST_WORKER"

func TestMain(m *testing.M) {
	if config := os.Getenv(workerEnv); config != "" {
		if err := work(config); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// worker is a process that takes one order after another, each a line, and answers
// each with a line.
type worker struct{ Dir, Issuer, Client string }

func work(config string) error {
	var w worker
	if err := json.Unmarshal([]byte(config), &w); err != nil {
		return err
	}
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: w.Issuer, ClientID: w.Client})
	if err != nil {
		return err
	}
	file, err := Open(w.Dir, w.Issuer, w.Client)
	if err != nil {
		return err
	}
	unlock := func() {}
	fmt.Println("ready")
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		answer := "done"
		switch orders.Text() {
		case "agent":
			agent, err := file.Agent(context.Background(), client)
			if err != nil {
				return err
			}
			answer = agent.ID
		case "lock":
			time.Sleep(time.Until(time.Now().Truncate(20 * time.Millisecond).Add(40 * time.Millisecond))) // all at once
			answer = "locked"
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			if free, err := file.lock(ctx); err == nil {
				unlock = free
			} else {
				answer = "busy"
			}
			cancel()
		case "unlock":
			unlock()
			unlock = func() {}
		}
		fmt.Println(answer)
	}
	return nil
}

// process is a worker as its test sees it.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	orders  io.Writer
	answers *bufio.Scanner
}

func (w worker) start(t *testing.T) *process {
	t.Helper()
	config, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), workerEnv+"="+string(config))
	p.cmd.Stderr = os.Stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.orders, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	p.answers = bufio.NewScanner(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	p.answer("ready")
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) order(order string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.orders, order); err != nil {
		p.t.Fatal(err)
	}
}

// answer reads one, and fails where it is none of those that are wanted.
func (p *process) answer(want ...string) string {
	p.t.Helper()
	p.answers.Scan()
	got := p.answers.Text()
	for _, w := range want {
		if got == w {
			return got
		}
	}
	p.t.Errorf("got %q; want one of %q", got, want)
	return got
}

func startAll(t *testing.T, file *File, issuer *authpitest.Server, count int) (all []*process) {
	t.Helper()
	for range count {
		all = append(all, worker{file.dir(), issuer.URL, issuer.ClientID()}.start(t))
	}
	return all
}

// Of 32 processes that find a lock that was left behind, one takes it over.
func TestStaleLock(t *testing.T) {
	t.Parallel()
	file, issuer, _ := signedIn(t)
	all := startAll(t, file, issuer, 32)
	for round := range 30 {
		file.leaveLock(t)
		var atOnce sync.WaitGroup
		for _, p := range all {
			atOnce.Go(func() { p.order("lock") })
		}
		atOnce.Wait()
		locked := 0
		for _, p := range all {
			if p.answer("locked", "busy") == "locked" {
				locked++
			}
		}
		if locked != 1 {
			t.Errorf("round %d: %d processes have the lock; want 1", round, locked)
		}
		for _, p := range all {
			p.order("unlock")
			p.answer("done")
		}
	}
}

// One of them refreshes, and the others find its tokens.
func TestOneRefresh(t *testing.T) {
	t.Parallel()
	file, issuer, _ := signedIn(t)
	issuer.Inject(authpitest.Fault{Endpoint: "token", Times: -1, DelayAnswer: 100 * time.Millisecond})
	all := startAll(t, file, issuer, 32)
	file.expire(t)
	file.leaveLock(t)
	for _, p := range all {
		p.order("agent")
	}
	for _, p := range all {
		p.answer("usr_ada")
	}
	if got := issuer.Grants("refresh_token"); got != 1 {
		t.Errorf("%d token requests; want 1", got)
	}
}

// A process that is killed while it has the lock blocks nobody.
func TestKilledHolder(t *testing.T) {
	t.Parallel()
	file, issuer, client := signedIn(t)
	file.expire(t)
	holder := startAll(t, file, issuer, 1)[0]
	holder.order("lock")
	holder.answer("locked")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := file.Agent(ctx, client); err == nil || ctx.Err() == nil {
		t.Errorf("got %v; want it to wait for the other process", err)
	}
	holder.kill()
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	agent, err := file.Agent(ctx, client)
	if err != nil || agent.ID != "usr_ada" || issuer.Grants("refresh_token") != 1 {
		t.Errorf("got %v, %v; want an agent after one refresh", agent, err)
	}
}
