package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// printStats prints a line per interval until stop is called, which waits for
// the last one.
func printStats(out io.Writer, s *server, interval time.Duration) (stop func()) {
	done := make(chan struct{})
	var printer sync.WaitGroup
	printer.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		last, lastBytes := time.Now(), uint64(0)
		for {
			select {
			case <-done:
				return
			case now := <-ticker.C:
				stats := s.engine.Stats()
				pool, loop := counters(stats)
				rate := float64(pool.Bytes-lastBytes) / now.Sub(last).Seconds()
				last, lastBytes = now, pool.Bytes
				fmt.Fprintf(out, "stats: %d connections, %d bytes, %.1f MB/s, %d completions, outstanding %d, %d flushes, %d re-arms, %d bytes copied, %d rescued, %d turns, %d CQ overflows\n",
					stats.Connections, pool.Bytes, rate/1e6, pool.Completions, pool.Outstanding, pool.Flushes,
					rearmsOf(pool).total(), pool.CopiedBytes, pool.RescuedBytes, loop.Turns, loop.Overflows)
			}
		}
	})
	return func() {
		close(done)
		printer.Wait()
	}
}
