// Package child runs a program several times over: the first process starts the
// others, which end with it, however it ends.
package child

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Start runs this program once more, with env added to its environment, and waits
// for the line that it tells with [Ready].
func Start(env ...string) (line string, stop func(), err error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}
	line, err = bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("a process ended before it was ready: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}

// Ready tells who called [Start] that this process is, and lets it end with that one.
func Ready(line string) {
	fmt.Println(line)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends when the first process does
		os.Exit(0)
	}()
}
