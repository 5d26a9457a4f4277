package vm

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/zcrx-go/zcrx/vm/internal/wire"
)

// sendJob writes the job and an archive of the files to the guest.
func sendJob(w io.Writer, job wire.Job, files []File) error {
	line, err := json.Marshal(job)
	if err != nil {
		return err
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	for _, file := range files {
		if err := addTree(archive, file); err != nil {
			return err
		}
	}
	return archive.Close()
}

// addTree adds a file, or a folder with everything in it.
func addTree(archive *tar.Writer, file File) error {
	// A symbolic link as the root is followed; links below it are copied as links.
	root, err := filepath.EvalSymlinks(file.Host)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return addOne(archive, name, path.Join(file.Guest, filepath.ToSlash(below)), entry)
	})
}

func addOne(archive *tar.Writer, host, guest string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	var link string
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(host); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return fmt.Errorf("%s: cannot be put into the guest: %w", host, err)
	}
	// All files belong to root in the guest, which does not know the host's users.
	header.Name, header.Uid, header.Gid, header.Uname, header.Gname = guest, 0, 0, "", ""
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	file, err := os.Open(host)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{archive}, struct{ io.Reader }{file}, make([]byte, 1<<20))
	return err
}

// receiveOutputs unpacks the archive of the outputs that the guest sends.
func receiveOutputs(r io.Reader, outputs []Output) error {
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receiving the outputs: %w", err)
		}
		if err := receiveOne(header, archive, outputs); err != nil {
			return fmt.Errorf("receiving the outputs: %w", err)
		}
	}
}

// receiveOne writes one entry of the archive below the Host of its output. The guest is not
// trusted: os.Root refuses names and symbolic links that lead out of that folder.
func receiveOne(header *tar.Header, content io.Reader, outputs []Output) error {
	guest := path.Join("/", header.Name)
	output, below, ok := owner(guest, outputs)
	if !ok {
		return fmt.Errorf("the guest sent %s, which belongs to no output", guest)
	}
	dir, name := output.Host, below
	if below == "." && header.Typeflag != tar.TypeDir {
		dir, name = filepath.Split(output.Host)
	}
	if dir == "" {
		dir = "."
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	switch header.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		if err := root.RemoveAll(name); err != nil {
			return err
		}
		return root.Symlink(header.Linkname, name)
	case tar.TypeReg:
		file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, header.FileInfo().Mode().Perm()|0o200)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Close())
	default:
		return fmt.Errorf("%s has the unexpected type %q", guest, header.Typeflag)
	}
}

// owner returns the output that a path in the guest belongs to, and the path relative to it.
func owner(guest string, outputs []Output) (Output, string, bool) {
	for _, output := range outputs {
		root := path.Clean(output.Guest)
		if guest == root {
			return output, ".", true
		}
		if below, ok := strings.CutPrefix(guest, strings.TrimSuffix(root, "/")+"/"); ok {
			return output, below, true
		}
	}
	return Output{}, "", false
}
