package vm

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"github.com/zcrx-go/zcrx/tools/debian"
)

// Kernel is a Debian kernel in the cache, which is below [os.UserCacheDir].
type Kernel struct {
	Series  string // 7.3
	Release string // what uname -r says: 7.3.4+deb13-cloud-amd64
	Version string // of the Debian package: 7.3.4-1~bpo13+1
	Image   string // path of the bootable image
	Package string // path of the .deb that it came in
	// Modules are the paths of the modules that the guest needs for its port to
	// the host, in the order of loading. Kernels from 6.12 on need none.
	Modules []string
}

// portModules lists what the port needs, each after what it depends on.
func portModules() []string {
	return []string{
		"virtio.ko", "virtio_ring.ko", "virtio_pci_modern_dev.ko",
		"virtio_pci_legacy_dev.ko", "virtio_pci.ko", "virtio_console.ko",
	}
}

// infoName is the file that makes a folder of the cache complete.
const infoName = "kernel.json"

// FetchKernel returns the newest patch release of a series, "7.3" say. It is
// taken from the cache if one is there, without touching the network, unless
// update asks the Debian archive for a newer one. Concurrent calls, also of
// other processes, fetch it once.
func FetchKernel(ctx context.Context, series string, update bool) (Kernel, error) {
	return fetchKernel(ctx, series, update, io.Discard)
}

func fetchKernel(ctx context.Context, series string, update bool, notices io.Writer) (Kernel, error) {
	suite, err := suiteOf(series)
	if err != nil {
		return Kernel{}, err
	}
	dir, err := cacheDir("kernels")
	if err != nil {
		return Kernel{}, err
	}
	if !update {
		if kernel, ok, err := cachedKernel(dir, series); ok || err != nil {
			return kernel, err
		}
	}
	unlock, err := lock(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	// Another process may have fetched it while this one waited.
	kernel, cached, err := cachedKernel(dir, series)
	if err != nil || cached && !update {
		return kernel, err
	}
	name, file, remove, err := downloadKernel(ctx, dir, suite, series, kernel, notices)
	if err != nil {
		return Kernel{}, fmt.Errorf("fetching a kernel of series %s: %w", series, err)
	}
	defer remove()
	if file == "" {
		return kernel, nil // the cached one is the newest
	}
	kernel = Kernel{
		Series:  series,
		Release: releaseOf(name.Name),
		Version: name.Version,
		Package: file,
	}
	return install(ctx, dir, kernel)
}

// downloadKernel downloads the package of the newest patch release into a new
// folder, which remove removes. No file means that have is the newest.
func downloadKernel(ctx context.Context, dir, suite, series string, have Kernel, notices io.Writer) (
	found debian.Package, file string, remove func(), err error,
) {
	part, err := os.MkdirTemp(dir, ".part-")
	if err != nil {
		return found, "", nil, err
	}
	remove = func() { _ = os.RemoveAll(part) }
	defer func() {
		if err != nil {
			remove()
		}
	}()
	// Twice, because the archive may have replaced a patch release since the
	// lists were fetched; a failed download makes the next search renew them.
	for attempt := range 2 {
		var all []debian.Package
		if all, err = debian.Search(ctx, suite, cloudKernels); err != nil {
			return found, "", remove, err
		}
		if found, err = newest(all, suite, series); err != nil {
			return found, "", remove, err
		}
		if found.Version == have.Version && releaseOf(found.Name) == have.Release {
			return found, "", remove, nil
		}
		if attempt == 0 {
			fmt.Fprintf(notices, "fetching the kernel %s (%s)\n", found.Name, found.Version)
		}
		if file, err = debian.Binary(ctx, suite, found.Name, part); err == nil {
			return found, file, remove, nil
		}
	}
	return found, "", remove, err
}

// install unpacks what is needed beside the package and moves the folder into
// its place, where other processes see it whole or not at all.
func install(ctx context.Context, dir string, kernel Kernel) (Kernel, error) {
	part := filepath.Dir(kernel.Package)
	if err := unpackPackage(ctx, &kernel, part); err != nil {
		return Kernel{}, fmt.Errorf("unpacking %s: %w", filepath.Base(kernel.Package), err)
	}
	info, err := json.MarshalIndent(kernel.rebase(filepath.Base), "", "\t")
	if err != nil {
		return Kernel{}, err
	}
	if err := os.WriteFile(filepath.Join(part, infoName), info, 0o644); err != nil {
		return Kernel{}, err
	}
	// Temporary folders are private, caches need not be.
	if err := os.Chmod(part, 0o755); err != nil {
		return Kernel{}, err
	}
	home := filepath.Join(dir, kernel.Release)
	// There can only be something broken, or an older build of this release.
	if err := os.RemoveAll(home); err != nil {
		return Kernel{}, err
	}
	if err := os.Rename(part, home); err != nil {
		return Kernel{}, err
	}
	return kernel.rebase(func(name string) string {
		return filepath.Join(home, filepath.Base(name))
	}), nil
}

// rebase returns a copy with all paths changed.
func (k Kernel) rebase(change func(string) string) Kernel {
	k.Image, k.Package = change(k.Image), change(k.Package)
	modules := make([]string, 0, len(k.Modules))
	for _, m := range k.Modules {
		modules = append(modules, change(m))
	}
	k.Modules = modules
	return k
}

// unpackPackage takes the image and the modules out of kernel.Package.
func unpackPackage(ctx context.Context, kernel *Kernel, dir string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", kernel.Package)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w (dpkg-deb is in the package dpkg)", err)
	}
	err = pickFiles(tar.NewReader(out), kernel, dir)
	// The rest of the archive is read, lest dpkg-deb complains of a closed pipe.
	_, copyErr := io.Copy(io.Discard, out)
	return errors.Join(err, copyErr, cmd.Wait())
}

func pickFiles(archive *tar.Reader, kernel *Kernel, dir string) error {
	wanted := map[string]bool{"vmlinuz": true, "vmlinuz-" + kernel.Release: true}
	for _, m := range portModules() {
		wanted[m] = true
	}
	found := make(map[string]bool)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		base := path.Base(header.Name)
		if header.Typeflag != tar.TypeReg || !wanted[base] {
			continue
		}
		file := filepath.Join(dir, base)
		if base == "vmlinuz-"+kernel.Release {
			file = filepath.Join(dir, "vmlinuz")
		}
		if err := save(file, archive); err != nil {
			return err
		}
		found[filepath.Base(file)] = true
	}
	if !found["vmlinuz"] {
		return errors.New("no kernel image in it")
	}
	kernel.Image = filepath.Join(dir, "vmlinuz")
	for _, m := range portModules() {
		if found[m] {
			kernel.Modules = append(kernel.Modules, filepath.Join(dir, m))
		}
	}
	return nil
}

func save(name string, content io.Reader) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// cachedKernel returns the newest cached patch release of a series.
func cachedKernel(dir, series string) (best Kernel, found bool, err error) {
	infos, err := filepath.Glob(filepath.Join(dir, "*", infoName))
	if err != nil {
		return best, false, err
	}
	for _, info := range infos {
		kernel, err := readKernel(info)
		if err != nil {
			return best, false, err
		}
		if kernel.Series != series {
			continue
		}
		if !found || debian.CompareVersions(kernel.Version, best.Version) > 0 {
			best, found = kernel, true
		}
	}
	return best, found, nil
}

func readKernel(info string) (Kernel, error) {
	text, err := os.ReadFile(info)
	if errors.Is(err, fs.ErrNotExist) {
		return Kernel{}, nil // replaced at this moment: belongs to no series
	}
	if err != nil {
		return Kernel{}, err
	}
	var kernel Kernel
	if err := json.Unmarshal(text, &kernel); err != nil {
		return Kernel{}, fmt.Errorf("%s is damaged, remove its folder: %w", info, err)
	}
	dir := filepath.Dir(info)
	return kernel.rebase(func(name string) string { return filepath.Join(dir, name) }), nil
}
