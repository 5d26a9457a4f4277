package vm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/zcrx-go/zcrx/vm/internal/wire"
)

// writeInitramfs writes an initramfs to the file name: init as /init, and the modules, in
// their order, in [wire.ModuleDir]. All other files, which may be large, go through the
// port, because the kernel needs memory for an initramfs twice while it unpacks it. The
// initramfs is not compressed, because that would make the boot slower.
func writeInitramfs(name, init string, modules []string) (err error) {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buffered := bufio.NewWriterSize(file, 1<<20)
	if err := writeArchive(buffered, init, modules); err != nil {
		return fmt.Errorf("making the initramfs: %w", err)
	}
	return buffered.Flush()
}

func writeArchive(w io.Writer, init string, modules []string) error {
	archive := cpio.Newc.Writer(w)
	dir := strings.TrimPrefix(wire.ModuleDir, "/")
	records := []cpio.Record{
		cpio.Directory("dev", 0o755),
		// The kernel opens this for init before init can mount /dev.
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.Directory(dir, 0o755),
	}
	if err := cpio.WriteRecords(archive, records); err != nil {
		return err
	}
	if err := writeRecord(archive, "init", 0o755, init); err != nil {
		return err
	}
	for i, module := range modules {
		// init loads the modules in the order of their names.
		guest := path.Join(dir, fmt.Sprintf("%02d-%s", i, filepath.Base(module)))
		if err := writeRecord(archive, guest, 0o644, module); err != nil {
			return err
		}
	}
	return cpio.WriteTrailer(archive)
}

func writeRecord(archive cpio.RecordWriter, guest string, mode uint64, host string) error {
	file, err := os.Open(host)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return archive.WriteRecord(cpio.Record{
		ReaderAt: file,
		Info: cpio.Info{
			Name:     guest,
			Mode:     cpio.S_IFREG | mode,
			FileSize: uint64(info.Size()),
			NLink:    1,
		},
	})
}
