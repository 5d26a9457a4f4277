package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// process is a started role.
type process struct {
	role  string
	cmd   *exec.Cmd
	stdin io.Closer
	in    *json.Encoder
	out   *json.Decoder
	log   *tail
}

// startProcess starts the program in a role, and tells it what to do; ready gets its reply.
// prefix is a command that the program is the argument of. The caller must stop it; the end of
// ctx kills it.
func startProcess(ctx context.Context, prefix []string, program, role string, spec, ready any) (*process, error) {
	args := slices.Concat(prefix, []string{program, role})
	p := &process{role: role, log: &tail{}, cmd: exec.CommandContext(ctx, args[0], args[1:]...)}
	p.cmd.Stderr = p.log
	p.cmd.WaitDelay = 5 * time.Second
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdin, p.in, p.out = stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := p.call(spec, ready); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// call sends a value and decodes the reply into value.
func (p *process) call(request, value any) error {
	if err := p.in.Encode(request); err != nil {
		return p.failure(err)
	}
	var r reply
	if err := p.out.Decode(&r); err != nil {
		return p.failure(err)
	}
	if r.Error != "" {
		return errors.New(r.Error)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(r.Value, value)
}

// failure is an error of a process that ended, with what it printed.
func (p *process) failure(err error) error {
	_ = p.cmd.Process.Kill() // so that it has printed everything
	_ = p.cmd.Wait()         // it was killed
	if text := p.log.String(); text != "" {
		return fmt.Errorf("%s process: %w: %s", p.role, err, text)
	}
	return fmt.Errorf("%s process: %w", p.role, err)
}

// stop ends the process and waits for it, and kills it if it takes too long.
func (p *process) stop() error {
	if p.cmd.ProcessState != nil {
		return nil // failure has waited
	}
	_ = p.stdin.Close() // it may have ended already
	kill := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("end of the %s process: %w: %s", p.role, err, p.log)
	}
	return nil
}

// tail keeps the last part of what is written to it.
type tail struct{ kept []byte }

const maxTail = 2000

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxTail; over > 0 {
		t.kept = slices.Delete(t.kept, 0, over)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.kept)) }
