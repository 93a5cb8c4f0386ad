package endpoint_test

import (
	"testing"

	"github.com/authpi/authpi-idp-go/internal/endpoint"
)

// Another module can call the method that a client has from it, but only with nil.
func TestFactSource(t *testing.T) {
	t.Parallel()
	client := struct{ endpoint.FactSource }{func() endpoint.Facts { return endpoint.Facts{ClientID: "c_1"} }}
	client.Facts(nil)
	var got endpoint.Facts
	if client.Facts(&got); got.ClientID != "c_1" {
		t.Errorf("got %+v; want the client's facts", got)
	}
}
