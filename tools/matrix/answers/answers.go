// Package answers is what the two halves of the kernel matrix say to each other:
// the test that runs on a kernel, and the program that boots the kernels.
package answers

// File is the name of the file that the guest leaves behind.
const File = "answers.json"

// Yes is the answer of a feature that can be used and of an operation that
// worked. Other answers are the name of a layer.
const Yes = "yes"

// The situations, as the table names them.
const (
	Root          = "root"
	NoNetAdmin    = "root without CAP_NET_ADMIN"
	User          = "ordinary user"
	UserNamespace = "root of a new user namespace"
	Memlock       = "root without CAP_IPC_LOCK, memlock 64 KiB"
	Disabled1     = "user, io_uring_disabled=1"
	Disabled2     = "root, io_uring_disabled=2"
	SeccompEPERM  = "root, seccomp filter that answers EPERM"
	SeccompENOSYS = "root, seccomp filter that answers ENOSYS"
)

// Kernel is everything that one kernel answered.
type Kernel struct {
	Release    string
	Situations []Answers
}

// Answers is what was answered in one situation: feature or operation by name.
type Answers struct {
	Situation  string
	Features   map[string]string
	Operations map[string]string
	Errors     map[string]string // the text of what failed
	LeakedFDs  int               // by a probe
}
