package result

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// line is a line of a file of results: the machine first, then results.
type line struct {
	Machine *Machine `json:"machine,omitempty"`
	Result  *Result  `json:"result,omitempty"`
}

// WriteMachine writes the line that a file of results begins with.
func WriteMachine(w io.Writer, m Machine) error { return json.NewEncoder(w).Encode(line{Machine: &m}) }

// Write writes the line of a result.
func Write(w io.Writer, r Result) error { return json.NewEncoder(w).Encode(line{Result: &r}) }

// Read reads a file of results. If it has several machines, Read returns the last.
func Read(r io.Reader) (Machine, []Result, error) {
	var machine Machine
	var results []Result
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for number := 1; in.Scan(); number++ {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return machine, nil, fmt.Errorf("line %d: %w", number, err)
		}
		if l.Machine != nil {
			machine = *l.Machine
		}
		if l.Result != nil {
			results = append(results, *l.Result)
		}
	}
	return machine, results, in.Err()
}
