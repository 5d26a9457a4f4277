//go:build linux

package guest

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// unpack writes the files of an archive below the root folder.
func unpack(archive *tar.Reader) error {
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpackOne(header, archive); err != nil {
			return err
		}
	}
}

func unpackOne(header *tar.Header, content io.Reader) error {
	name := filepath.Join("/", header.Name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	mode := header.FileInfo().Mode().Perm()
	switch header.Typeflag {
	case tar.TypeDir:
		return os.MkdirAll(name, mode)
	case tar.TypeSymlink:
		return os.Symlink(header.Linkname, name)
	case tar.TypeReg:
		return writeFile(name, mode, content)
	default:
		return fmt.Errorf("%s: cannot unpack a file of type %q", name, header.Typeflag)
	}
}

func writeFile(name string, mode fs.FileMode, content io.Reader) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	// Copy in large pieces, because system calls are slow under emulation.
	_, err = io.CopyBuffer(struct{ io.Writer }{file}, content, make([]byte, 1<<20))
	return errors.Join(err, file.Close())
}

// pack writes the outputs that exist to w as one archive. Names in it are absolute paths
// without the first slash. It leaves out what is not a file, folder or symbolic link.
func pack(w io.Writer, outputs []string) error {
	// Each write is a frame, and a tar writer writes in small pieces.
	buffered := bufio.NewWriterSize(w, 1<<16)
	archive := tar.NewWriter(buffered)
	for _, output := range outputs {
		root := filepath.Clean(output)
		err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && name == root {
				return nil // the program did not write it
			}
			if err != nil {
				return err
			}
			return packOne(archive, name, entry)
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), buffered.Flush())
}

func packOne(archive *tar.Writer, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	var link string
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(name); err != nil {
			return err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	header.Name = strings.TrimPrefix(name, "/")
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.CopyBuffer(archive, struct{ io.Reader }{file}, make([]byte, 1<<16))
	return err
}
