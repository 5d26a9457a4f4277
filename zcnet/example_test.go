package zcnet_test

import (
	"bufio"
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

// A fiber for each connection is ordinary code that waits, and runs on the connection's loop.
// Serve closes the connection when the function returns.
func ExampleListener_Serve() {
	ctx, stop := context.WithCancel(context.Background())
	ln, err := zcnet.Listen(ctx, "tcp", "127.0.0.1:0", zcnet.Config{})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		fmt.Println(call(ln.Addr().String(), "how long is this?\n"))
		stop()
	}()
	err = ln.Serve(ctx, func(conn *zcnet.Conn) {
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			log.Print(err)
			return
		}
		fmt.Fprintf(conn, "%d bytes", len(line))
	})
	fmt.Println(err)
	// Serve leaves functions that run alone. Shutdown waits for them, and Close sends what
	// they have written.
	if err := errors.Join(ln.Shutdown(context.Background()), ln.Engine().Close()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 18 bytes
	// context canceled
}

// call sends a text to address and returns the answer.
func call(address, text string) string {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		log.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		log.Fatal(err)
	}
	return string(answer)
}

// What would block the thread in a fiber, like a database or a channel, goes into Await: only
// the fiber waits for it, and the loop goes on.
func ExampleAwaitValue() {
	ctx, stop := context.WithCancel(context.Background())
	ln, err := zcnet.Listen(ctx, "tcp", "127.0.0.1:0", zcnet.Config{})
	if err != nil {
		log.Fatal(err)
	}
	slowly := func() (string, error) {
		time.Sleep(10 * time.Millisecond)
		return "the result of a query", nil
	}
	go func() {
		fmt.Println(call(ln.Addr().String(), ""))
		stop()
	}()
	_ = ln.Serve(ctx, func(conn *zcnet.Conn) { // the error is ctx's
		result, err := zcnet.AwaitValue(slowly)
		if err != nil {
			log.Print(err)
			return
		}
		_, _ = io.WriteString(conn, result) // the peer sees that there is no answer
	})
	if err := errors.Join(ln.Shutdown(context.Background()), ln.Engine().Close()); err != nil {
		log.Fatal(err)
	}
	// Output: the result of a query
}

// Go runs a fiber for a connection that was dialled or accepted. The caller closes the
// connection, or the function does.
func ExampleConn_Go() {
	ctx := context.Background()
	ln, err := zcnet.Listen(ctx, "tcp", "127.0.0.1:0", zcnet.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	go send(ln.Addr().String(), "counted by a fiber")

	conn, err := ln.AcceptConn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	total := make(chan int, 1) // with room: the fiber does not wait
	err = conn.Go(func(conn *zcnet.Conn) {
		defer conn.Close()
		text, err := io.ReadAll(conn)
		if err != nil {
			log.Print(err)
		}
		total <- len(text)
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-total, "bytes")
	// Output: 18 bytes
}

// Send sends received buffers from where they are, and releases them. This server sends back
// what it gets.
func ExampleConn_Send() {
	ctx, stop := context.WithCancel(context.Background())
	ln, err := zcnet.Listen(ctx, "tcp", "127.0.0.1:0", zcnet.Config{})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close()
		go func() {
			_, _ = io.WriteString(conn, strings.Repeat("a", 1_000_000))
			_ = conn.(*net.TCPConn).CloseWrite()
		}()
		n, err := io.Copy(io.Discard, conn)
		fmt.Println(n, "bytes back, error", err)
		stop()
	}()
	_ = ln.Serve(ctx, func(conn *zcnet.Conn) { // the error is ctx's
		for buf, err := range conn.Buffers(context.Background()) {
			if err != nil || conn.Send(buf) != nil {
				return
			}
		}
	})
	if err := errors.Join(ln.Shutdown(context.Background()), ln.Engine().Close()); err != nil {
		log.Fatal(err)
	}
	// Output: 1000000 bytes back, error <nil>
}
