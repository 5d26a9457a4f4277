package vm

import (
	"debug/elf"
	"fmt"
)

// checkStatic returns an error if path is not an executable for x86-64, or is linked
// dynamically, since the guest has no libraries. remedy ends the text of the latter.
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
		return fmt.Errorf("%s is not an executable but an ELF file of type %v", path, file.Type)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically and the guest has no libraries: %s", path, remedy)
		}
	}
	return nil
}
