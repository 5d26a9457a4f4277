// Command bytepath shows which functions a received byte passes: from its completion to
// Conn.Read, and back to the refill queue.
//
//	bytepath receive MODE | bytepath print
//
// receive has to be built with -cover -covermode=atomic -coverpkg=./... : it receives a few
// bytes, forgets what has run so far, receives some more, and prints what ran meanwhile.
// print needs the same sources and Go's tools. make byte-path does both, with device-less
// zero copy in a virtual machine.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/coverage"
	"strings"
	"time"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bytepath:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "receive":
		mode, err := zcrx.ParseMode(args[1])
		if err != nil {
			return err
		}
		return receive(mode)
	case len(args) == 1 && args[0] == "print":
		return printFunctions()
	}
	return errors.New("usage: bytepath receive MODE | bytepath print")
}

// The two lines that receive prints.
const (
	metaLine     = "META "
	countersLine = "COUNTERS "
)

func receive(mode zcrx.Mode) error {
	ln, err := zcnet.Listen(context.Background(), "tcp", "127.0.0.1:0", zcnet.Config{Mode: mode, Loops: 1})
	if err != nil {
		return err
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		return err
	}
	defer server.Close()
	if err := receiveSome(client, server); err != nil {
		return err
	}
	if err := coverage.ClearCounters(); err != nil {
		return err
	}
	if err := receiveSome(client, server); err != nil {
		return err
	}
	var meta, counters bytes.Buffer
	if err := errors.Join(coverage.WriteMeta(&meta), coverage.WriteCounters(&counters)); err != nil {
		return err
	}
	fmt.Println(metaLine + base64.StdEncoding.EncodeToString(meta.Bytes()))
	fmt.Println(countersLine + base64.StdEncoding.EncodeToString(counters.Bytes()))
	return nil
}

// receiveSome has time pass between sending and reading, so that the bytes are there, and
// the loop sleeps again.
func receiveSome(client, server net.Conn) error {
	const pause = 100 * time.Millisecond
	p := make([]byte, 100)
	for range 4 {
		if _, err := client.Write(p); err != nil {
			return err
		}
		time.Sleep(pause)
		if _, err := server.Read(p); err != nil {
			return err
		}
		time.Sleep(pause)
	}
	return nil
}

// printFunctions lists the functions that ran, by file, from receive's output.
func printFunctions() error {
	dir, err := os.MkdirTemp("", "bytepath")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	var meta, counters []byte
	for lines.Scan() {
		var err error
		if text, ok := strings.CutPrefix(lines.Text(), metaLine); ok {
			meta, err = base64.StdEncoding.DecodeString(text)
		} else if text, ok := strings.CutPrefix(lines.Text(), countersLine); ok {
			counters, err = base64.StdEncoding.DecodeString(text)
		}
		if err != nil {
			return err
		}
	}
	const hashAt, hashEnd = 24, 40 // in the header of the meta-data
	if len(meta) < hashEnd || len(counters) == 0 {
		return errors.New("the input is not the output of bytepath receive")
	}
	hash := hex.EncodeToString(meta[hashAt:hashEnd])
	profile := filepath.Join(dir, "profile")
	err = errors.Join(
		lines.Err(),
		os.WriteFile(filepath.Join(dir, "covmeta."+hash), meta, 0o600),
		os.WriteFile(filepath.Join(dir, "covcounters."+hash+".1.1"), counters, 0o600),
	)
	if err != nil {
		return err
	}
	if out, err := exec.Command("go", "tool", "covdata", "textfmt", "-i="+dir, "-o="+profile).CombinedOutput(); err != nil {
		return fmt.Errorf("go tool covdata: %w: %s", err, out)
	}
	out, err := exec.Command("go", "tool", "cover", "-func="+profile).Output()
	if err != nil {
		return fmt.Errorf("go tool cover: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[2] != "0.0%" && !strings.Contains(f[0], "/tools/") && f[0] != "total:" {
			fmt.Println(f[0], f[1])
		}
	}
	return nil
}
