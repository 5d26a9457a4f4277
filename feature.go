package zcrx

import "fmt"

// Feature is something that a kernel may lack.
type Feature uint8

// The features that Have and ProbeFeatures report.
const (
	FeatureZeroCopy           Feature = iota // RECV_ZC and queue registration (Linux 6.15)
	FeatureDMABuf                            // areas in a dma-buf (Linux 6.16)
	FeatureImport                            // a ring uses the pool of another ring: ZCRX_REG_IMPORT (Linux 6.19)
	FeatureExport                            // a ring lends its pool to other rings: ZCRX_CTRL_EXPORT (Linux 6.19)
	FeatureFlush                             // refill queue emptied on demand: ZCRX_CTRL_FLUSH_RQ (Linux 6.19)
	FeatureBufferSize                        // buffers larger than a page: rx_buf_len (Linux 7.0)
	FeatureDeviceLess                        // zcrx without a network device: ZCRX_REG_NODEV (Linux 7.1)
	FeatureEvents                            // the kernel reports allocation failures and copies (Linux 7.2)
	FeatureAddArea                           // areas added at run time: ZCRX_CTRL_ADD_AREA (Linux 7.3)
	FeatureMixedCQE                          // 16- and 32-byte completions in one ring: IORING_SETUP_CQE_MIXED (Linux 6.18)
	FeatureMultishotRecv                     // one receive request for a connection's life (Linux 6.0)
	FeatureProvidedBuffers                   // provided-buffer rings (Linux 5.19)
	FeatureIncrementalBuffers                // provided buffers used up piece by piece: IOU_PBUF_RING_INC (Linux 6.12)
	FeatureBundles                           // several provided buffers per completion: IORING_RECVSEND_BUNDLE (Linux 6.10)
	FeatureSendZC                            // zero-copy send (Linux 6.0)
	FeatureNAPI                              // busy polling from the ring (Linux 6.9)
	numFeatures
)

var featureTable = [numFeatures]struct{ name, minKernel string }{
	FeatureZeroCopy:           {"zero-copy receive", "6.15"},
	FeatureDMABuf:             {"dma-buf area", "6.16"},
	FeatureImport:             {"pool import", "6.19"},
	FeatureExport:             {"pool export", "6.19"},
	FeatureFlush:              {"refill queue flush", "6.19"},
	FeatureBufferSize:         {"buffer size over a page", "7.0"},
	FeatureDeviceLess:         {"device-less zero-copy receive", "7.1"},
	FeatureEvents:             {"pool events", "7.2"},
	FeatureAddArea:            {"area added at run time", "7.3"},
	FeatureMixedCQE:           {"mixed completion sizes", "6.18"},
	FeatureMultishotRecv:      {"multishot receive", "6.0"},
	FeatureProvidedBuffers:    {"provided-buffer ring", "5.19"},
	FeatureIncrementalBuffers: {"incremental provided buffers", "6.12"},
	FeatureBundles:            {"receive bundles", "6.10"},
	FeatureSendZC:             {"zero-copy send", "6.0"},
	FeatureNAPI:               {"busy polling", "6.9"},
}

// String returns the feature's name, in words.
func (f Feature) String() string {
	if f >= numFeatures {
		return fmt.Sprintf("feature(%d)", uint8(f))
	}
	return featureTable[f].name
}

// MinKernel returns the first Linux release with the feature, for instance "6.15".
func (f Feature) MinKernel() string {
	if f >= numFeatures {
		return ""
	}
	return featureTable[f].minKernel
}

// AllFeatures returns every Feature, zero-copy receive first.
func AllFeatures() []Feature {
	all := make([]Feature, numFeatures)
	for i := range all {
		all[i] = Feature(i)
	}
	return all
}
