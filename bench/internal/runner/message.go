// Package runner measures one run: it starts the server and the client in processes of their
// own, and tells them when to begin and to end.
package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A process of a role reads JSON values from its standard input: what to do, then commands. It
// replies to each with one on its standard output. It ends at the end of its input,
// and so with the process that started it.

// command is what comes after the first value.
type command string

const (
	received command = "received" // how many bytes the server has received
	begin    command = "begin"
	end      command = "end"
)

// reply is what a role sends back.
type reply struct {
	Value json.RawMessage `json:"value,omitempty"`
	Error string          `json:"error,omitempty"`
}

// control is a role's end of the conversation.
type control struct {
	in  *json.Decoder
	out *json.Encoder
}

// openControl takes over standard input and output. What libraries print to standard output
// goes to standard error from then on.
func openControl() (control, error) {
	out, err := unix.FcntlInt(uintptr(unix.Stdout), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return control{}, fmt.Errorf("duplicate standard output: %w", err)
	}
	if err := unix.Dup3(unix.Stderr, unix.Stdout, 0); err != nil {
		return control{}, fmt.Errorf("redirect standard output: %w", err)
	}
	return control{json.NewDecoder(os.Stdin), json.NewEncoder(os.NewFile(uintptr(out), "control"))}, nil
}

// reply replies with value, or with err if it is not nil.
func (c control) reply(value any, err error) error {
	if err != nil {
		return c.out.Encode(reply{Error: err.Error()})
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return c.out.Encode(reply{Value: raw})
}

// serve replies to commands until the input ends.
func (c control) serve(handle func(command) (any, error)) error {
	for {
		var cmd command
		if err := c.in.Decode(&cmd); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := c.reply(handle(cmd)); err != nil {
			return err
		}
	}
}
