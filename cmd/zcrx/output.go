package main

import (
	"errors"
	"io"
	"os"
)

// output is where received bytes go: nowhere, standard output, or a file.
type output struct {
	io.Writer          // nil: nowhere
	file      *os.File // nil: no file of ours
	name      string   // that the file gets in the end; "" if it has it
}

// partialSuffix is of the file that received bytes are in until all is well: what the named
// file had before is kept up to then.
const partialSuffix = ".partial"

// openOutput opens what name says: nothing for "", standard output for "-". The caller must
// close it.
func openOutput(name string, stdout io.Writer) (*output, error) {
	switch name {
	case "":
		return &output{}, nil
	case "-":
		return &output{Writer: stdout}, nil
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0) // a device or a pipe cannot be replaced
		if err != nil {
			return nil, err
		}
		return &output{Writer: f, file: f}, nil
	}
	f, err := os.Create(name + partialSuffix)
	if err != nil {
		return nil, err
	}
	return &output{Writer: f, file: f, name: name}, nil
}

// close closes the file. If all went well it gets its name; else it stays under the other
// name, if anything is in it.
func (o *output) close(well bool) error {
	if o.file == nil {
		return nil
	}
	at, _ := o.file.Seek(0, io.SeekCurrent)
	err := o.file.Close()
	switch {
	case o.name == "":
		return err
	case well && err == nil:
		return os.Rename(o.file.Name(), o.name)
	case at == 0:
		return errors.Join(err, os.Remove(o.file.Name()))
	}
	return err
}
