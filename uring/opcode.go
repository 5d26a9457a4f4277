package uring

import "github.com/zcrx-go/zcrx/uring/uapi"

// Opcode is an IORING_OP_* code.
type Opcode uint8

// The operations, with the kernel that they came with. Ring.Probe tells which ones this kernel
// has.
const (
	OpNop            Opcode = uapi.IORING_OP_NOP              // Linux 5.1
	OpReadv          Opcode = uapi.IORING_OP_READV            // Linux 5.1
	OpWritev         Opcode = uapi.IORING_OP_WRITEV           // Linux 5.1
	OpFsync          Opcode = uapi.IORING_OP_FSYNC            // Linux 5.1
	OpReadFixed      Opcode = uapi.IORING_OP_READ_FIXED       // Linux 5.1
	OpWriteFixed     Opcode = uapi.IORING_OP_WRITE_FIXED      // Linux 5.1
	OpPollAdd        Opcode = uapi.IORING_OP_POLL_ADD         // Linux 5.1
	OpPollRemove     Opcode = uapi.IORING_OP_POLL_REMOVE      // Linux 5.1
	OpSyncFileRange  Opcode = uapi.IORING_OP_SYNC_FILE_RANGE  // Linux 5.2
	OpSendmsg        Opcode = uapi.IORING_OP_SENDMSG          // Linux 5.3
	OpRecvmsg        Opcode = uapi.IORING_OP_RECVMSG          // Linux 5.3
	OpTimeout        Opcode = uapi.IORING_OP_TIMEOUT          // Linux 5.4
	OpTimeoutRemove  Opcode = uapi.IORING_OP_TIMEOUT_REMOVE   // Linux 5.5
	OpAccept         Opcode = uapi.IORING_OP_ACCEPT           // Linux 5.5
	OpAsyncCancel    Opcode = uapi.IORING_OP_ASYNC_CANCEL     // Linux 5.5
	OpLinkTimeout    Opcode = uapi.IORING_OP_LINK_TIMEOUT     // Linux 5.5
	OpConnect        Opcode = uapi.IORING_OP_CONNECT          // Linux 5.5
	OpFallocate      Opcode = uapi.IORING_OP_FALLOCATE        // Linux 5.6
	OpOpenat         Opcode = uapi.IORING_OP_OPENAT           // Linux 5.6
	OpClose          Opcode = uapi.IORING_OP_CLOSE            // Linux 5.6
	OpFilesUpdate    Opcode = uapi.IORING_OP_FILES_UPDATE     // Linux 5.6
	OpStatx          Opcode = uapi.IORING_OP_STATX            // Linux 5.6
	OpRead           Opcode = uapi.IORING_OP_READ             // Linux 5.6
	OpWrite          Opcode = uapi.IORING_OP_WRITE            // Linux 5.6
	OpFadvise        Opcode = uapi.IORING_OP_FADVISE          // Linux 5.6
	OpMadvise        Opcode = uapi.IORING_OP_MADVISE          // Linux 5.6
	OpSend           Opcode = uapi.IORING_OP_SEND             // Linux 5.6
	OpRecv           Opcode = uapi.IORING_OP_RECV             // Linux 5.6
	OpOpenat2        Opcode = uapi.IORING_OP_OPENAT2          // Linux 5.6
	OpEpollCtl       Opcode = uapi.IORING_OP_EPOLL_CTL        // Linux 5.6
	OpSplice         Opcode = uapi.IORING_OP_SPLICE           // Linux 5.7
	OpProvideBuffers Opcode = uapi.IORING_OP_PROVIDE_BUFFERS  // Linux 5.7
	OpRemoveBuffers  Opcode = uapi.IORING_OP_REMOVE_BUFFERS   // Linux 5.7
	OpTee            Opcode = uapi.IORING_OP_TEE              // Linux 5.8
	OpShutdown       Opcode = uapi.IORING_OP_SHUTDOWN         // Linux 5.11
	OpRenameat       Opcode = uapi.IORING_OP_RENAMEAT         // Linux 5.11
	OpUnlinkat       Opcode = uapi.IORING_OP_UNLINKAT         // Linux 5.11
	OpMkdirat        Opcode = uapi.IORING_OP_MKDIRAT          // Linux 5.15
	OpSymlinkat      Opcode = uapi.IORING_OP_SYMLINKAT        // Linux 5.15
	OpLinkat         Opcode = uapi.IORING_OP_LINKAT           // Linux 5.15
	OpMsgRing        Opcode = uapi.IORING_OP_MSG_RING         // Linux 5.18
	OpFSetxattr      Opcode = uapi.IORING_OP_FSETXATTR        // Linux 5.19
	OpSetxattr       Opcode = uapi.IORING_OP_SETXATTR         // Linux 5.19
	OpFGetxattr      Opcode = uapi.IORING_OP_FGETXATTR        // Linux 5.19
	OpGetxattr       Opcode = uapi.IORING_OP_GETXATTR         // Linux 5.19
	OpSocket         Opcode = uapi.IORING_OP_SOCKET           // Linux 5.19
	OpUringCmd       Opcode = uapi.IORING_OP_URING_CMD        // Linux 5.19
	OpSendZC         Opcode = uapi.IORING_OP_SEND_ZC          // Linux 6.0
	OpSendmsgZC      Opcode = uapi.IORING_OP_SENDMSG_ZC       // Linux 6.1
	OpReadMultishot  Opcode = uapi.IORING_OP_READ_MULTISHOT   // Linux 6.7
	OpWaitid         Opcode = uapi.IORING_OP_WAITID           // Linux 6.7
	OpFutexWait      Opcode = uapi.IORING_OP_FUTEX_WAIT       // Linux 6.7
	OpFutexWake      Opcode = uapi.IORING_OP_FUTEX_WAKE       // Linux 6.7
	OpFutexWaitv     Opcode = uapi.IORING_OP_FUTEX_WAITV      // Linux 6.7
	OpFixedFDInstall Opcode = uapi.IORING_OP_FIXED_FD_INSTALL // Linux 6.8
	OpFtruncate      Opcode = uapi.IORING_OP_FTRUNCATE        // Linux 6.9
	OpBind           Opcode = uapi.IORING_OP_BIND             // Linux 6.11
	OpListen         Opcode = uapi.IORING_OP_LISTEN           // Linux 6.11
	OpRecvZC         Opcode = uapi.IORING_OP_RECV_ZC          // Linux 6.15
	OpEpollWait      Opcode = uapi.IORING_OP_EPOLL_WAIT       // Linux 6.15
	OpReadvFixed     Opcode = uapi.IORING_OP_READV_FIXED      // Linux 6.15
	OpWritevFixed    Opcode = uapi.IORING_OP_WRITEV_FIXED     // Linux 6.15
	OpPipe           Opcode = uapi.IORING_OP_PIPE             // Linux 6.16
	OpNop128         Opcode = uapi.IORING_OP_NOP128           // Linux 6.19
	OpUringCmd128    Opcode = uapi.IORING_OP_URING_CMD128     // Linux 6.19
)
