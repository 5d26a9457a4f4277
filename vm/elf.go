package vm

import (
	"debug/elf"
	"fmt"
)

// checkStatic returns an error, with the remedy, if path is not an executable
// that runs in a guest without libraries.
func checkStatic(path, remedy string) error {
	file, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s is not a readable ELF executable: %w", path, err)
	}
	defer file.Close()
	if file.Machine != elf.EM_X86_64 {
		return fmt.Errorf("%s is built for %v; the guest is x86-64: build it with GOOS=linux GOARCH=amd64", path, file.Machine)
	}
	if file.Type != elf.ET_EXEC && file.Type != elf.ET_DYN {
		return fmt.Errorf("%s is no executable but an ELF file of type %v", path, file.Type)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically and the guest has no libraries: %s", path, remedy)
		}
	}
	return nil
}
