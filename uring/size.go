package uring

import "runtime"

// MemorySize returns how many bytes of Config.Memory a ring of that Config needs.
//
// Implements: ssize_t io_uring_memory_size(unsigned entries, unsigned flags)
// Implements: ssize_t io_uring_memory_size_params(unsigned entries, struct io_uring_params *p)
func MemorySize(cfg Config) (int, error) { return cfg.size(fnMemorySizeParams) }

// MlockSize returns how many bytes a ring of that Config counts against RLIMIT_MEMLOCK by
// liburing's reckoning: 0 on kernels since 5.12, though those of Linux 6.16 to 7.1 count (see
// New).
//
// Implements: ssize_t io_uring_mlock_size(unsigned entries, unsigned flags)
// Implements: ssize_t io_uring_mlock_size_params(unsigned entries, struct io_uring_params *p)
func MlockSize(cfg Config) (int, error) { return cfg.size(fnMlockSizeParams) }

func (cfg Config) size(f function) (int, error) {
	cfg.clamp()
	if err := cfg.check(); err != nil {
		return 0, err
	}
	p, err := cfg.params()
	if err != nil {
		return 0, err
	}
	arg := &p
	n, err := callC(f, uint64(cfg.Entries), address(arg))
	runtime.KeepAlive(arg)
	return n, err
}
