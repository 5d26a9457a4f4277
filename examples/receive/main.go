// Command receive receives one connection and prints how many bytes came. It is the
// program in README.md.
package main

import (
	"context"
	"fmt"

	"github.com/zcrx-go/zcrx/zcnet"
)

func main() {
	ctx := context.Background()
	ln, err := zcnet.Listen(ctx, "tcp", ":9000", zcnet.Config{}) // for zero copy: Interface, Queues
	if err != nil {
		panic(err)
	}
	conn, err := ln.AcceptConn(ctx)
	if err != nil {
		panic(err)
	}
	total := 0
	for buf, err := range conn.Buffers(ctx) { // up to the end of the stream
		if err != nil {
			panic(err)
		}
		total += len(buf.Bytes()) // read-only, not copied, valid until Release
		_ = buf.Release()
	}
	_ = conn.Close()
	fmt.Println(total, "bytes in mode", conn.Mode())
}
