package nic

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestParseRSS(t *testing.T) {
	h := &rssHeader{indirSize: 2, keySize: minRSSKey}
	config := make([]byte, 8+minRSSKey)
	config[0], config[4], config[8] = 1, 2, 3
	rss := parseRSS(h, config)
	assert.Equal(t, []int{1, 2}, rss.Table)
	assert.Len(t, rss.Key, minRSSKey)
	assert.Equal(t, byte(3), rss.Key[0])
}
