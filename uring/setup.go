package uring

import "github.com/zcrx-go/zcrx/uring/uapi"

// SetupFlags are the IORING_SETUP_* flags of a ring (uapi linux/io_uring.h).
type SetupFlags uint32

// The set-up flags.
const (
	SetupIOPoll           SetupFlags = uapi.IORING_SETUP_IOPOLL             // wait for devices by polling: O_DIRECT files of drivers that can (Linux 5.1)
	SetupSQPoll           SetupFlags = uapi.IORING_SETUP_SQPOLL             // a kernel thread takes the SQEs: see Config.SQThreadIdle (Linux 5.1)
	SetupSQAff            SetupFlags = uapi.IORING_SETUP_SQ_AFF             // that thread runs on Config.SQThreadCPU (Linux 5.1)
	SetupCQSize           SetupFlags = uapi.IORING_SETUP_CQSIZE             // use Config.CQEntries; New sets the flag when it is not 0
	SetupClamp            SetupFlags = uapi.IORING_SETUP_CLAMP              // reduce sizes that are too large instead of refusing them
	SetupAttachWQ         SetupFlags = uapi.IORING_SETUP_ATTACH_WQ          // share the workers of Config.AttachTo; New sets the flag when it is not nil (Linux 5.6)
	SetupDisabled         SetupFlags = uapi.IORING_SETUP_R_DISABLED         // the ring takes no request before Enable
	SetupSubmitAll        SetupFlags = uapi.IORING_SETUP_SUBMIT_ALL         // go on submitting after a bad SQE (Linux 5.18)
	SetupCoopTaskrun      SetupFlags = uapi.IORING_SETUP_COOP_TASKRUN       // do not interrupt the thread for task work (Linux 5.19)
	SetupTaskrunFlag      SetupFlags = uapi.IORING_SETUP_TASKRUN_FLAG       // show pending task work in the SQ flags (Linux 5.19)
	SetupSQE128           SetupFlags = uapi.IORING_SETUP_SQE128             // 128-byte submission queue entries (Linux 5.19)
	SetupCQE32            SetupFlags = uapi.IORING_SETUP_CQE32              // 32-byte completions (Linux 5.19)
	SetupSingleIssuer     SetupFlags = uapi.IORING_SETUP_SINGLE_ISSUER      // only one thread submits (Linux 6.0)
	SetupDeferTaskrun     SetupFlags = uapi.IORING_SETUP_DEFER_TASKRUN      // run task work only in a wait or submit that asks for it (Linux 6.1)
	SetupNoMmap           SetupFlags = uapi.IORING_SETUP_NO_MMAP            // the queues lie in Config.Memory; New sets the flag when it is not nil (Linux 6.5)
	SetupRegisteredFDOnly SetupFlags = uapi.IORING_SETUP_REGISTERED_FD_ONLY // the ring has no fd, only a registered one; needs Config.Memory (Linux 6.5)
	SetupNoSQArray        SetupFlags = uapi.IORING_SETUP_NO_SQARRAY         // SQEs are taken in order; liburing sets it (Linux 6.6)
	SetupHybridIOPoll     SetupFlags = uapi.IORING_SETUP_HYBRID_IOPOLL      // sleep a while before polling, with SetupIOPoll (Linux 6.13)
	SetupCQEMixed         SetupFlags = uapi.IORING_SETUP_CQE_MIXED          // 16- and 32-byte completions (Linux 6.18)
	SetupSQEMixed         SetupFlags = uapi.IORING_SETUP_SQE_MIXED          // 64- and 128-byte submission queue entries: see GetSQE128 (Linux 6.19)
	SetupSQRewind         SetupFlags = uapi.IORING_SETUP_SQ_REWIND          // each submission begins at the first SQE (Linux 7.0)
)

const knownFlags SetupFlags = 1<<21 - 1

// Features are the IORING_FEAT_* flags of a ring: what its kernel supports.
type Features uint32

// The features.
const (
	FeatSingleMmap     Features = uapi.IORING_FEAT_SINGLE_MMAP     // both queues are one mapping (Linux 5.4)
	FeatNoDrop         Features = uapi.IORING_FEAT_NODROP          // completions without room wait in the kernel (Linux 5.5)
	FeatSubmitStable   Features = uapi.IORING_FEAT_SUBMIT_STABLE   // what an SQE points to is read when it is submitted (Linux 5.5)
	FeatRWCurPos       Features = uapi.IORING_FEAT_RW_CUR_POS      // offset -1 is the file's position (Linux 5.6)
	FeatCurPersonality Features = uapi.IORING_FEAT_CUR_PERSONALITY // requests have the credentials of who submits them (Linux 5.6)
	FeatFastPoll       Features = uapi.IORING_FEAT_FAST_POLL       // sockets and pipes wait without a worker (Linux 5.7)
	FeatPoll32Bits     Features = uapi.IORING_FEAT_POLL_32BITS     // polls have EPOLLEXCLUSIVE (Linux 5.9)
	FeatSQPollNonfixed Features = uapi.IORING_FEAT_SQPOLL_NONFIXED // SetupSQPoll works with files that are not registered (Linux 5.11)
	FeatExtArg         Features = uapi.IORING_FEAT_EXT_ARG         // waits have a timeout (Linux 5.11)
	FeatNativeWorkers  Features = uapi.IORING_FEAT_NATIVE_WORKERS  // workers are threads of the process (Linux 5.12)
	FeatRsrcTags       Features = uapi.IORING_FEAT_RSRC_TAGS       // registered files and buffers have tags (Linux 5.13)
	FeatCQESkip        Features = uapi.IORING_FEAT_CQE_SKIP        // SQECQESkipSuccess (Linux 5.17)
	FeatLinkedFile     Features = uapi.IORING_FEAT_LINKED_FILE     // a linked request finds the file that the one before opened (Linux 5.17)
	FeatRegRegRing     Features = uapi.IORING_FEAT_REG_REG_RING    // registrations through a registered ring fd (Linux 6.3)
	FeatRecvSendBundle Features = uapi.IORING_FEAT_RECVSEND_BUNDLE // receives and sends over several provided buffers (Linux 6.10)
	FeatMinTimeout     Features = uapi.IORING_FEAT_MIN_TIMEOUT     // waits with a minimum time (Linux 6.12)
	FeatRWAttr         Features = uapi.IORING_FEAT_RW_ATTR         // reads and writes with attributes (Linux 6.14)
	FeatNoIOWait       Features = uapi.IORING_FEAT_NO_IOWAIT       // SetIOWait (Linux 6.15)
)
