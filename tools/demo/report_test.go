package main

import (
	"strings"
	"testing"
)

const good = `{"mode":"provided","mode_reason":"no interface given","bytes_sent":5,"bytes_received":5,
"sha256_sent":"abcdef0123456789","sha256_received":"abcdef0123456789","seconds":0.5,"bytes_per_second":10,
"leased":3,"returned":3,"outstanding":0,"completions":4,"flushes":1,"rearms":2,"copied_bytes":5}`

func TestCheck(t *testing.T) {
	r, err := parseReport([]byte(good + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.check(5); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*report){
		"short":       func(r *report) { r.BytesReceived-- },
		"not sent":    func(r *report) { r.BytesSent = 0 },
		"sum":         func(r *report) { r.SHA256Received = "abcdef0123456788" },
		"no sum":      func(r *report) { r.SHA256Sent, r.SHA256Received = "", "" },
		"outstanding": func(r *report) { r.Outstanding = 1 },
	} {
		bad := r
		spoil(&bad)
		if bad.check(5) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if r.check(6) == nil {
		t.Error("accepted a report about another file")
	}
}

func TestParseReport(t *testing.T) {
	for _, text := range []string{"", "no json", `{"mode":`} {
		if _, err := parseReport([]byte(text)); err == nil {
			t.Errorf("%q accepted", text)
		}
	}
}

func TestTable(t *testing.T) {
	r, err := parseReport([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	r.where = "here"
	var out strings.Builder
	if err := printTable(&out, []report{r, {where: "there"}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"here", "there", "provided", "equal, abcdef012345", "re-arms", "-\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the table:\n%s", want, out.String())
		}
	}
}
