package load

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is a distribution in nanoseconds, to three digits.
type Latency struct {
	P50  int64 `json:"p50"`
	P90  int64 `json:"p90"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p99.9"`
	Max  int64 `json:"max"`
}

// maxLatency is the longest latency that is told apart, in nanoseconds.
const maxLatency = int64(5 * time.Minute)

// recorder counts the messages between begin and end. Times are nanoseconds since base.
type recorder struct {
	base       time.Time
	from, to   atomic.Int64 // the window, from inclusive
	sent       atomic.Int64 // messages that have no reply
	sentBefore int64        // at begin
	shards     []shard
}

// shard is a part of the recorder, so that connections seldom wait for each other.
type shard struct {
	of        *recorder
	mu        sync.Mutex // guards histogram
	histogram *hdrhistogram.Histogram
}

func newRecorder() *recorder {
	r := &recorder{base: time.Now(), shards: make([]shard, 4*runtime.GOMAXPROCS(0))}
	r.from.Store(math.MaxInt64)
	r.to.Store(math.MaxInt64)
	for i := range r.shards {
		r.shards[i].of, r.shards[i].histogram = r, hdrhistogram.New(1, maxLatency, 3)
	}
	return r
}

// shard returns the shard of connection number i.
func (r *recorder) shard(i int) *shard { return &r.shards[i%len(r.shards)] }

func (r *recorder) begin() {
	r.sentBefore = r.sent.Load()
	r.from.Store(int64(time.Since(r.base)))
}

// end ends the window and returns its length in seconds.
func (r *recorder) end() float64 {
	r.to.Store(int64(time.Since(r.base)))
	return float64(r.to.Load()-r.from.Load()) / 1e9
}

// add counts a message that was sent at started and answered now, if now is in the window. It
// returns now.
func (s *shard) add(started time.Time) time.Time {
	now := time.Now()
	s.record(now, now.Sub(started))
	return now
}

// addDue counts a message that was due at a time in the window, and is answered now.
func (s *shard) addDue(due time.Time) { s.record(due, time.Since(due)) }

func (s *shard) record(at time.Time, latency time.Duration) {
	if t := int64(at.Sub(s.of.base)); t < s.of.from.Load() || t >= s.of.to.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.histogram.RecordValue(min(maxLatency, max(1, int64(latency)))) // in range
}

// latency returns how many messages were recorded, and their distribution, nil without any.
func (r *recorder) latency() (int64, *Latency) {
	all := hdrhistogram.New(1, maxLatency, 3)
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		all.Merge(s.histogram)
		s.mu.Unlock()
	}
	if all.TotalCount() == 0 {
		return 0, nil
	}
	return all.TotalCount(), &Latency{
		P50: all.ValueAtQuantile(50), P90: all.ValueAtQuantile(90),
		P99: all.ValueAtQuantile(99), P999: all.ValueAtQuantile(99.9), Max: all.Max(),
	}
}
