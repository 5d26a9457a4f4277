package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/zcrx-go/zcrx/examples/internal/exampletest"
)

func TestGet(t *testing.T) {
	want := exampletest.Bytes(3<<20 + 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/file" {
			http.NotFound(w, r)
			return
		}
		_, err := w.Write(want)
		assert.NoError(t, err)
	}))
	defer server.Close()
	got := exampletest.Do(t, run, "-url", server.URL+"/file")
	assert.True(t, bytes.Equal(want, []byte(got)), "%d bytes", len(got))
	err := run(t.Context(), []string{"-mode", "provided", "-url", server.URL + "/other"}, io.Discard)
	assert.ErrorContains(t, err, "404")
}
