package skip

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		release, min string
		want         bool
	}{
		{"6.18.44-custom", "7.1", true},
		{"7.1.13+deb13-cloud-amd64", "7.1", false},
		{"7.3.4", "7.1", false},
		{"6.9.1", "6.18", true},
		{"6.18.0", "6.9", false},
		{"", "6.1", true},
	} {
		assert.Equal(t, c.want, Older(c.release, c.min), "%s against %s", c.release, c.min)
	}
}
