package vm

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCanMultithread(t *testing.T) {
	for text, want := range map[string]bool{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)": false,
		"QEMU emulator version 8.0.5":                                 false,
		"QEMU emulator version 8.1.0":                                 true,
		"QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)":         true,
		"nonsense": false,
	} {
		assert.Equal(t, want, canMultithread(text), text)
	}
}

func TestDamagedKVMResultIsIgnored(t *testing.T) {
	name := filepath.Join(t.TempDir(), "kvm.json")
	assert.Equal(t, kvmResult{}, readResult(name))
	require.NoError(t, writeAtomic(name, []byte("{")))
	assert.Equal(t, kvmResult{}, readResult(name))
	require.NoError(t, writeAtomic(name, []byte(`{"BootID":"b","Works":true}`)))
	assert.Equal(t, kvmResult{"b", true}, readResult(name))
}
