// Package wire is the conversation between vmrun on the host and its init in
// the guest, over one virtio-serial port.
//
// Host to guest: a [Job] as one line of JSON, then a tar archive of the files
// that go into the guest, and if the program takes too long the line [Where].
// Guest to host: frames, in the order in which things
// happened, so that the exit status, which comes last, proves that everything
// before it has arrived. Only init holds the port: nothing that the program or
// the kernel prints can corrupt it.
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

// GuestArgument is what the kernel passes to init, so that an ordinary process
// that happens to have the process id 1, in a container, is not taken for it.
const GuestArgument = "vmrun-guest"

// ModuleDir is the folder of the initramfs with the modules that init loads,
// in the order of their names, before it looks for the port.
const ModuleDir = "/modules"

// WorkDir is the working directory of the program in the guest.
const WorkDir = "/guest"

// Where asks the guest where the program hangs. It tells that in [Stderr] frames:
// what the kernel knows, and what the program itself says when it gets SIGQUIT.
// Then it ends the program.
const Where = "where\n"

// WherePatience is how long the host waits for the end after that. Under emulation
// one second is enough; on a busy machine it takes several times as long.
const WherePatience = 20 * time.Second

// Job tells the guest what to do. Paths are paths in the guest.
type Job struct {
	Path    string   // program
	Args    []string // its arguments, without its name
	Env     []string // KEY=VALUE, complete
	UID     int      // user and group id of the program
	Sysctls []string // KEY=VALUE, in order
	Modules []string // kernel modules, in order
	// Outputs are the files and folders to send back. One that ends in a slash
	// is a folder that exists, and belongs to the user, before the program runs;
	// of the others only the parent does.
	Outputs []string
}

// Exit is how a job ended.
type Exit struct {
	Code  int    // exit status of the program; 128 + n if signal n ended it
	Error string // what kept init from running the program; empty if it ran
	Taint uint64 // /proc/sys/kernel/tainted after the run
}

// Kind says what a frame carries.
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

// headerSize is one byte of kind and four of length.
const headerSize = 5

// Sender writes frames. It is safe for use by several goroutines.
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
	// Header and payload in one write: each one wakes the host up.
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

// Receive reads one frame. It returns io.EOF if the stream ended before one.
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
