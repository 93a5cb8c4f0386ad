package docs

import (
	"net/http"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"
)

// besideGorilla is LoadAndSave for apps on gorilla/sessions: manager keeps the sign-in
// in a store of its own, and gorilla's session carries its token.
func besideGorilla(store sessions.Store, manager *scs.SessionManager, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		carrier, _ := store.Get(r, "authpi") // a cookie that cannot be read is none
		token, _ := carrier.Values["token"].(string)
		ctx, err := manager.Load(r.Context(), token)
		if err != nil {
			manager.ErrorFunc(w, r, err)
			return
		}
		r = r.WithContext(ctx)
		late := &lateWriter{ResponseWriter: w}
		late.save = func() (err error) {
			switch manager.Status(ctx) {
			case scs.Unmodified:
				return nil
			case scs.Modified:
				if carrier.Values["token"], _, err = manager.Commit(ctx); err != nil {
					return err
				}
			case scs.Destroyed:
				carrier.Options.MaxAge = -1
			}
			return carrier.Save(r, w)
		}
		late.fail = func(err error) { manager.ErrorFunc(w, r, err) }
		next.ServeHTTP(late, r)
		late.finish()
	})
}

// lateWriter saves before the first byte of the answer leaves. If that fails the
// answer is another one.
type lateWriter struct {
	http.ResponseWriter
	save          func() error
	fail          func(error)
	saved, failed bool
}

func (w *lateWriter) finish() {
	if w.saved {
		return
	}
	w.saved = true
	if err := w.save(); err != nil {
		w.failed = true
		w.fail(err)
	}
}

func (w *lateWriter) WriteHeader(status int) {
	if w.finish(); !w.failed {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *lateWriter) Write(b []byte) (int, error) {
	if w.finish(); w.failed {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}
