// Package wire is the protocol between package vm on the host and its init in the guest, over
// one virtio-serial port. It has the messages and their encoding; vm and vm/internal/guest
// open the port and send them. Start with [Job] and [Sender].
//
// Host to guest: a [Job] as one line of JSON, a tar archive of the files for the guest, and
// if the program takes too long the line [Where].
//
// Guest to host: frames, in the order of what they report. The exit status comes last, so
// everything before it has arrived then. Only init has the port open, so what the program or
// the kernel prints cannot damage a frame.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// PortName is the name of the virtio-serial port.
const PortName = "vmrun"

// GuestArgument is the argument that the kernel passes to init. It tells init from an
// ordinary process with the process id 1, as in a container.
const GuestArgument = "vmrun-guest"

// ModuleDir is the folder of the initramfs with the modules that init loads before it opens
// the port, in the order of their names.
const ModuleDir = "/modules"

// WorkDir is the working directory of the program in the guest.
const WorkDir = "/guest"

// Where is the line that asks the guest where the program hangs. The guest replies in
// [Stderr] frames with the kernel's view and what the program prints when it gets SIGQUIT,
// and ends the program.
const Where = "where\n"

// WherePatience is how long the host waits for the last frame after [Where]. Under emulation
// it takes a second, and several times as long on a busy machine.
const WherePatience = 20 * time.Second

// Job is what the guest has to run. Its paths are paths in the guest.
type Job struct {
	Path    string   // program
	Args    []string // its arguments, without its name
	Env     []string // KEY=VALUE, complete
	UID     int      // user and group id of the program
	Sysctls []string // KEY=VALUE, in order
	Modules []string // kernel modules, in order
	// Outputs are the files and folders to send back. One that ends in a slash is a
	// folder, which init makes for the user before the program runs. Of others init makes
	// the parent only.
	Outputs []string
}

// Exit is the result of a job.
type Exit struct {
	Code  int    // exit status of the program; 128 + n if signal n ended it
	Error string // why init could not run the job to its end; empty if it could
	Taint uint64 // /proc/sys/kernel/tainted after the run
}

// Kind is the kind of a frame.
type Kind byte

// The kinds of frames.
const (
	Ready  Kind = 'r' // init is up and waits for the job; no payload
	Stdout Kind = '1' // written by the program
	Stderr Kind = '2' // written by the program
	Output Kind = 'o' // a piece of the tar archive of the outputs
	End    Kind = 'e' // the last frame: Exit as JSON
)

// MaxPayload is the largest payload of a frame, in bytes.
const MaxPayload = 1 << 20

// headerSize is the size of a frame's header: one byte of kind and four of length.
const headerSize = 5

// Sender writes frames. It may be used by several goroutines at once.
type Sender struct {
	mu sync.Mutex
	w  io.Writer
}

// NewSender returns a Sender on w.
func NewSender(w io.Writer) *Sender { return &Sender{w: w} }

// Send writes one frame.
func (s *Sender) Send(kind Kind, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("frame of %d bytes, the largest is %d", len(payload), MaxPayload)
	}
	// Header and payload in one write, because each write wakes the host up.
	frame := make([]byte, headerSize, headerSize+len(payload))
	frame[0] = byte(kind)
	binary.LittleEndian.PutUint32(frame[1:], uint32(len(payload)))
	frame = append(frame, payload...)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.w.Write(frame)
	return err
}

// SendEnd writes the last frame.
func (s *Sender) SendEnd(exit Exit) error {
	payload, err := json.Marshal(exit)
	if err != nil {
		return err
	}
	return s.Send(End, payload)
}

// Stream returns a writer whose bytes become frames of one kind.
func (s *Sender) Stream(kind Kind) io.Writer { return stream{s, kind} }

type stream struct {
	sender *Sender
	kind   Kind
}

func (s stream) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), MaxPayload)
		if err := s.sender.Send(s.kind, p[:n]); err != nil {
			return written, err
		}
		written += n
		p = p[n:]
	}
	return written, nil
}

// Receive reads one frame. It returns io.EOF if r ends before a frame.
func Receive(r io.Reader) (Kind, []byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	size := binary.LittleEndian.Uint32(header[1:])
	if size > MaxPayload {
		return 0, nil, fmt.Errorf("frame of %d bytes, the largest is %d", size, MaxPayload)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return Kind(header[0]), payload, nil
}
