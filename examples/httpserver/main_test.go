package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/examples/internal/exampletest"
)

func TestPut(t *testing.T) {
	url := "http://" + exampletest.Serve(t, run)
	body := exampletest.Bytes(3<<20 + 1)
	for _, setProtocol := range []func(*http.Protocols){
		func(p *http.Protocols) { p.SetHTTP1(true) },
		func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
	} {
		protocols := new(http.Protocols)
		setProtocol(protocols)
		transport := &http.Transport{Protocols: protocols}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader(body))
		require.NoError(t, err)
		answer, err := transport.RoundTrip(request)
		require.NoError(t, err)
		got, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		assert.Equal(t, fmt.Sprintf("%d bytes, SHA-256 %x\n", len(body), sha256.Sum256(body)), string(got))
		transport.CloseIdleConnections()
	}
}
