package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
func openOutput(ctx context.Context, name string, std streams) (*output, error) {
	switch name {
	case "":
		return &output{}, nil
	case "-":
		return &output{Writer: std.out}, nil
	}
	old, err := os.Stat(name)
	switch {
	case err == nil && !old.Mode().IsRegular(): // a device or a pipe
		f, err := openFile(ctx, name, os.O_WRONLY, std.err)
		if err != nil {
			return nil, err
		}
		return &output{Writer: newInterruptibleWriter(ctx, f), file: f}, nil
	case err == nil: // through links, whose place a rename would take
		if name, err = filepath.EvalSymlinks(name); err != nil {
			return nil, err
		}
	default:
		if _, err := os.Lstat(name); err == nil { // a link to a file that does not exist
			return inPlace(name, os.O_WRONLY|os.O_CREATE)
		}
	}
	f, err := os.OpenFile(name+partialSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("%s exists: it is of another recv, or of one that was interrupted; move it away", name+partialSuffix)
	case errors.Is(err, fs.ErrPermission) && old != nil: // the folder cannot be written to
		return inPlace(name, os.O_WRONLY|os.O_TRUNC)
	case err != nil:
		return nil, err
	}
	if old != nil {
		if err := f.Chmod(old.Mode().Perm()); err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}
	return &output{Writer: f, file: f, name: name}, nil
}

// inPlace opens what cannot be replaced.
func inPlace(name string, flags int) (*output, error) {
	f, err := os.OpenFile(name, flags, 0o666)
	if err != nil {
		return nil, err
	}
	return &output{Writer: f, file: f}, nil
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
