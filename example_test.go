package zcrx_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/zcrx-go/zcrx"
)

// A server that receives from one connection. Auto means zero copy where the Queue
// names an interface that supports it, and a copying mode here.
func Example() {
	ctx := context.Background()
	loop, err := zcrx.NewLoop(zcrx.LoopConfig{})
	if errors.Is(err, zcrx.ErrNotSupported) {
		fmt.Println("hello, zero copy") // err says what is missing here, and what to do
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	pool, err := zcrx.OpenPool(ctx, loop, zcrx.Auto, zcrx.Queue{}, zcrx.PoolConfig{NumBuffers: 64})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	go func() {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprint(client, "hello, zero copy")
		client.Close()
	}()

	conn, err := listener.Accept()
	if err != nil {
		log.Fatal(err)
	}
	receiver, err := zcrx.NewReceiver(pool, conn.(*net.TCPConn)) // takes conn over
	if err != nil {
		log.Fatal(err)
	}
	defer receiver.Close()
	for {
		buf, err := receiver.Recv(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", buf.Bytes()) // read-only; valid until Release
		buf.Release()
	}
	// Output: hello, zero copy
}

// Four loops over the hardware queues 4 and 5: two own the pool of a queue, two import one.
// Where zero copy is not possible, Auto gives each loop a copying pool.
func ExampleNewGroup() {
	ctx := context.Background()
	var loops []*zcrx.Loop
	for range 4 {
		loop, err := zcrx.NewLoop(zcrx.LoopConfig{})
		if err != nil {
			log.Fatal(err)
		}
		defer loop.Close()
		loops = append(loops, loop)
	}
	group, err := zcrx.NewGroup(ctx, zcrx.GroupConfig{
		Mode: zcrx.Auto, Interface: "eth0", Queues: []int{4, 5}, Loops: loops,
	})
	if err != nil {
		log.Fatal(err) // a *zcrx.GroupError names loop, queue and step
	}
	defer group.Close()

	listener, err := net.Listen("tcp", ":9000")
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		pool, err := group.Pick(conn.(*net.TCPConn)) // on the queue that it arrives on
		if err != nil {
			log.Fatal(err)
		}
		receiver, err := zcrx.NewReceiver(pool, conn.(*net.TCPConn))
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer receiver.Close()
			for {
				buf, err := receiver.Recv(ctx)
				if err != nil {
					return
				}
				buf.Release()
			}
		}()
	}
}

func ExampleProbeFeatures() {
	features, err := zcrx.ProbeFeatures()
	if err != nil {
		log.Fatal(err)
	}
	if err := features.Have(zcrx.FeatureZeroCopy); errors.Is(err, zcrx.ErrNotSupported) {
		log.Print(err) // names the layer and the remedy
	}
}
