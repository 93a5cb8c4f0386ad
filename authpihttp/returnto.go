package authpihttp

import (
	"context"
	"log/slog"
	"strings"

	"github.com/authpi/authpi-idp-go/internal/weburl"
)

// maxReturnTo is longer than any address that a person means to come back to.
const maxReturnTo = 3 << 10

// returnTo is the address on this site to go to after a login, byte for byte: the
// one asked for, its path alone where it is too long, or the home page where it is
// no local address, or would start the login again.
func (a *App) returnTo(ctx context.Context, asked string) string {
	if weburl.LenASCII(asked) > maxReturnTo {
		asked, _, _ = strings.Cut(asked, "?")
		slog.Default().WarnContext(ctx, "authpihttp: an address is too long to come back to; only its path is kept",
			"path", cut(asked, 256))
	}
	local, place, ok := weburl.Local(asked, maxReturnTo)
	if !ok || place == a.loginPath() || place == a.callbackPath() || place == a.logoutPath() {
		return a.home()
	}
	return local
}
