package zcnet_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

// send connects to address, sends some text and ends the stream.
func send(address, text string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		log.Fatal(err)
	}
}

// The zero Config selects the best mode that needs no interface. For zero copy, name an
// interface and its queues: Config{Interface: "eth0", Queues: []int{4, 5}}.
func ExampleListen() {
	ctx := context.Background()
	ln, err := zcnet.Listen(ctx, "tcp", "127.0.0.1:0", zcnet.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	go send(ln.Addr().String(), "any TCP client can send")

	conn, err := ln.AcceptConn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", text)
	// Output: any TCP client can send
}

// Buffers returns the bytes where the network interface or the kernel has put them.
func ExampleConn_Buffers() {
	ctx := context.Background()
	ln, err := zcnet.Listen(ctx, "tcp", "127.0.0.1:0", zcnet.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	go send(ln.Addr().String(), "no copy in between")

	conn, err := ln.AcceptConn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	total := 0
	for buf, err := range conn.Buffers(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		total += len(buf.Bytes()) // read-only, and valid until Release
		if err := buf.Release(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(total, "bytes")
	// Output: 18 bytes
}

// Each message is one byte with its length, followed by that many bytes. Peek returns them
// in place.
func ExampleConn_Peek() {
	ctx := context.Background()
	ln, err := zcnet.Listen(ctx, "tcp", "127.0.0.1:0", zcnet.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	go send(ln.Addr().String(), "\x05hello\x05world")

	conn, err := ln.AcceptConn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	for {
		head, err := conn.Peek(ctx, 1)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		length := int(head[0])
		message, err := conn.Peek(ctx, 1+length)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", message[1:])
		if _, err := conn.Discard(ctx, 1+length); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// hello
	// world
}

// Chunks returns a body of known length in pieces that lie in the receive buffers. The body
// may be larger than all buffers together.
func ExampleConn_Chunks() {
	ctx := context.Background()
	ln, err := zcnet.Listen(ctx, "tcp", "127.0.0.1:0", zcnet.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	body := strings.Repeat("a", 1_000_000)
	go send(ln.Addr().String(), string(binary.BigEndian.AppendUint32(nil, uint32(len(body))))+body)

	conn, err := ln.AcceptConn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	var header [4]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		log.Fatal(err)
	}
	total := 0
	for chunk, err := range conn.Chunks(ctx, int(binary.BigEndian.Uint32(header[:]))) {
		if err != nil {
			log.Fatal(err)
		}
		total += len(chunk) // chunk is valid until the end of this round
	}
	fmt.Println(total, "bytes")
	// Output: 1000000 bytes
}

// A Handler runs on the loop that received the buffers, so that no goroutine waits for the
// connection. The Handler must not wait.
func ExampleConn_Handle() {
	ctx := context.Background()
	ln, err := zcnet.Listen(ctx, "tcp", "127.0.0.1:0", zcnet.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	go send(ln.Addr().String(), "handled")

	conn, err := ln.AcceptConn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan int)
	total := 0
	err = conn.Handle(func(conn *zcnet.Conn, buffers []zcrx.Buffer, err error) {
		if err != nil { // the last call: io.EOF, or another error
			_ = conn.Close()
			ended <- total
			return
		}
		for _, buf := range buffers {
			total += buf.Len()
		}
		_ = zcrx.ReleaseAll(buffers)
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-ended, "bytes")
	// Output: 7 bytes
}

// One engine, with its loops and buffers, serves any number of listeners and connections.
func ExampleEngine() {
	ctx := context.Background()
	engine, err := zcnet.NewEngine(ctx, zcnet.Config{Loops: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	ln, err := engine.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "both ends are connections of one engine")
		}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()

	client := &http.Client{Transport: &http.Transport{DialContext: engine.DialContext}}
	answer, err := client.Get("http://" + ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	fmt.Printf("%s\n", text)
	client.CloseIdleConnections()
	if err := server.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: both ends are connections of one engine
}
