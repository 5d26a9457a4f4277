package zcrx

// consumption is how the kernel uses up provided buffers.
type consumption struct {
	incremental bool // a buffer is filled by any number of completions, one behind the other
	bundles     bool // a completion may fill any number of buffers, one after the other
}

// inOrder tells whether a completion leaves out where its bytes lie: behind those
// of the completion before, of whichever connection.
func (c consumption) inOrder() bool { return c.incremental || c.bundles }

func (c consumption) String() string {
	switch c {
	case consumption{incremental: true, bundles: true}:
		return "incremental bundles"
	case consumption{incremental: true}:
		return "incremental"
	case consumption{bundles: true}:
		return "bundles"
	}
	return "whole"
}

// bestConsumption is how pools use buffers up on this kernel: in both ways, where it
// does them right. Large streams come faster in bundles, and small messages share
// buffers that are filled incrementally (BenchmarkConsumptionStream and -Messages).
func bestConsumption() consumption {
	features, err := ProbeFeatures()
	if err != nil || !completesInOrder(features.Kernel) {
		return consumption{}
	}
	return consumption{
		incremental: features.Have(FeatureIncrementalBuffers) == nil,
		bundles:     features.Have(FeatureBundles) == nil && limitsBundles(features.Kernel),
	}
}

// limitsBundles tells whether a receive in bundles can be given the number of bytes
// after which it ends (Linux 6.17). Without, a single completion may take every
// buffer of the pool, whatever the receiver's share.
func limitsBundles(release string) bool { return !olderKernel(release, 6, 17, 0) }

// completesInOrder tells whether a kernel's completions come in the order in which
// it used up the buffers, and each fills these without a gap. Seen to be so on 6.12.107
// and on every series from 6.16 to 7.3. The kernels between and before were being
// mended: the last completion of a receive could be overtaken by those of others
// (until 6.15), and a bundle could go on behind a buffer that it had filled half, or
// take too much of an incremental one (until 6.16).
func completesInOrder(release string) bool {
	return !olderKernel(release, 6, 16, 0) ||
		!olderKernel(release, 6, 12, 107) && olderKernel(release, 6, 13, 0)
}
