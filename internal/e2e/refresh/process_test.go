//go:build unix

package refresh

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take before a test calls it a deadlock.
const patience = 60 * time.Second

// process is a worker as its test sees it.
type process struct {
	t       testing.TB
	setup   setup
	cmd     *exec.Cmd
	orders  *json.Encoder
	stdin   io.Closer
	reports chan report
	heard   chan struct{} // closed when all that it said was read
	ended   sync.Once
	stderr  bytes.Buffer // its own until it has ended
}

// startWorker starts a process and returns before it is ready. listen, if not nil,
// hears every report, in order, in place of await.
func startWorker(t testing.TB, s setup, listen func(*process, report)) *process {
	t.Helper()
	config, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, setup: s, cmd: exec.Command(self), reports: make(chan report, 16), heard: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), workerEnv+"="+string(config),
		"GORACE=atexit_sleep_ms=0") // else each end takes a second; races show as an exit status all the same
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin, p.orders = stdin, json.NewEncoder(stdin)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	go func() {
		defer close(p.heard)
		defer close(p.reports)
		for said := json.NewDecoder(stdout); ; {
			var r report
			if err := said.Decode(&r); err != nil {
				return // its end, perhaps in the middle of a line
			}
			if listen != nil {
				listen(p, r)
			} else {
				p.reports <- r
			}
		}
	}()
	return p
}

// startWorkers starts as many processes as there are names, alike but for these.
func startWorkers(t testing.TB, s setup, names ...string) []*process {
	t.Helper()
	var all []*process
	for _, name := range names {
		s.Name = name
		all = append(all, startWorker(t, s, nil))
	}
	for _, p := range all {
		p.await(evReady)
	}
	return all
}

func (p *process) send(o order) {
	p.t.Helper()
	if err := p.orders.Encode(o); err != nil {
		p.t.Fatalf("worker %s: %v", p.setup.Name, err)
	}
}

func (p *process) await(event string) report {
	p.t.Helper()
	select {
	case r, ok := <-p.reports:
		if !ok || r.Event != event {
			p.kill()
			p.t.Fatalf("worker %s: got %+v; want %q\n%s", p.setup.Name, r, event, p.stderr.String())
		}
		return r
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its stacks show where it hangs
		<-p.heard
		p.kill()
		p.t.Fatalf("worker %s: deadlock: no %q within %v\n%s", p.setup.Name, event, patience, p.stderr.String())
		panic("unreachable")
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("worker %s: %v", p.setup.Name, err)
	}
}

// kill is kill -9, and waits until all that the process had said was read.
func (p *process) kill() {
	p.ended.Do(func() {
		_ = p.cmd.Process.Kill()
		p.wait()
	})
}

// stop lets the process end in peace, which is when the race detector speaks.
func (p *process) stop() {
	p.ended.Do(func() {
		_ = p.stdin.Close()
		lost := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
		defer lost.Stop()
		if err := p.wait(); err != nil {
			p.t.Errorf("worker %s: %v\n%s", p.setup.Name, err, p.stderr.String())
		}
	})
}

func (p *process) wait() error {
	<-p.heard
	err := p.cmd.Wait()
	if text := p.stderr.String(); strings.Contains(text, "DATA RACE") {
		p.t.Errorf("worker %s:\n%s", p.setup.Name, text)
	}
	return err
}

func stop(all []*process) {
	for _, p := range all {
		p.stop()
	}
}

// create sends the same callers to all processes, and gives what each reported.
func create(all []*process, o order) []report {
	o.Op = opCreate
	for _, p := range all {
		p.send(o)
	}
	var said []report
	for _, p := range all {
		said = append(said, p.await(evCreated))
	}
	return said
}

// wantOneSet fails where a caller went away with an error or with another set than
// the one with this label.
func wantOneSet(t testing.TB, said []report, callers int, token string) {
	t.Helper()
	for n, r := range said {
		if r.Calls != callers || len(r.Failures) > 0 || r.Sets[token] != callers || r.Stored != callers {
			t.Errorf("process %d of %d: %d calls, %d failures, %d with the new set, %d OnRefresh; want %d, 0, %[3]d, %[3]d\n%v",
				n+1, len(said), r.Calls, len(r.Failures), r.Sets[token], r.Stored, callers, r.Failures)
		}
	}
}

// program is a server that a test started.
type program struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

func startProgram(cmd *exec.Cmd) (*program, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	dieWithTest(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &program{cmd: cmd, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait()
	}()
	return p, nil
}

// gone tells whether the program has ended.
func (p *program) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// stop ends the program by a signal, or after a while by SIGKILL.
func (p *program) stop(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal)
	lost := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer lost.Stop()
	<-p.exited
}
