package zcrx

// The answers of ProbeFeatures, one by one: nil if the feature can be used here,
// an error that matches ErrNotSupported and names layer and remedy if not, another
// error if that could not be found out (and the next call tries again). Safe from
// any goroutine.

func have(f Feature) error {
	fs, err := ProbeFeatures()
	if err != nil {
		return err
	}
	return fs.Have(f)
}

// HaveZeroCopy probes for RECV_ZC and queue registration (Linux 6.15).
func HaveZeroCopy() error { return have(FeatureZeroCopy) }

// HaveDMABuf probes for buffer areas in a dma-buf (Linux 6.16).
func HaveDMABuf() error { return have(FeatureDMABuf) }

// HaveImport probes for using another ring's pool (ZCRX_REG_IMPORT, Linux 6.19).
func HaveImport() error { return have(FeatureImport) }

// HaveExport probes for lending a pool to other rings (ZCRX_CTRL_EXPORT, Linux
// 6.19).
func HaveExport() error { return have(FeatureExport) }

// HaveFlush probes for emptying the refill queue on demand (ZCRX_CTRL_FLUSH_RQ,
// Linux 6.19).
func HaveFlush() error { return have(FeatureFlush) }

// HaveBufferSize probes for buffers over a page (rx_buf_len, Linux 7.0).
func HaveBufferSize() error { return have(FeatureBufferSize) }

// HaveDeviceLess probes for zcrx without a network device (ZCRX_REG_NODEV, Linux
// 7.1).
func HaveDeviceLess() error { return have(FeatureDeviceLess) }

// HaveEvents probes for allocation-failure and copy events (Linux 7.2).
func HaveEvents() error { return have(FeatureEvents) }

// HaveAddArea probes for areas added at run time (ZCRX_CTRL_ADD_AREA, Linux 7.3).
func HaveAddArea() error { return have(FeatureAddArea) }

// HaveMixedCQE probes for rings with completions of both sizes
// (IORING_SETUP_CQE_MIXED, Linux 6.18).
func HaveMixedCQE() error { return have(FeatureMixedCQE) }

// HaveMultishotRecv probes for multishot receive (Linux 6.0).
func HaveMultishotRecv() error { return have(FeatureMultishotRecv) }

// HaveProvidedBuffers probes for provided-buffer rings (Linux 5.19).
func HaveProvidedBuffers() error { return have(FeatureProvidedBuffers) }

// HaveIncrementalBuffers probes for provided buffers that are used up piece by
// piece (IOU_PBUF_RING_INC, Linux 6.12).
func HaveIncrementalBuffers() error { return have(FeatureIncrementalBuffers) }

// HaveBundles probes for completions over several provided buffers
// (IORING_RECVSEND_BUNDLE, Linux 6.10).
func HaveBundles() error { return have(FeatureBundles) }

// HaveSendZC probes for zero-copy send (Linux 6.0).
func HaveSendZC() error { return have(FeatureSendZC) }

// HaveNAPI probes for busy polling from the ring (Linux 6.9).
func HaveNAPI() error { return have(FeatureNAPI) }
