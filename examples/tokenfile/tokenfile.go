// Package tokenfile keeps one person's tokens in a file that several processes share,
// as those of a program on the command line do. Copy it; examples/cli uses it.
package tokenfile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// File is safe for processes that use it at once. It changes under a lock, and by
// renaming: who only reads needs no lock.
type File struct{ name string }

// Open has another file for each issuer and client: nobody's refresh token goes to an
// issuer that did not make it. It makes the directory.
func Open(dir, issuerURL, clientID string) (*File, error) {
	digest := sha256.Sum256([]byte(issuerURL + "\n" + clientID))
	return &File{filepath.Join(dir, hex.EncodeToString(digest[:8])+".json")}, os.MkdirAll(dir, 0o700)
}

// Agent tells who is signed in. Tokens that are still good cost neither lock nor
// request; otherwise one process refreshes, and the others wait and find its tokens.
func (f *File) Agent(ctx context.Context, client *authpi.IdpClient) (*authpi.Agent, error) {
	tokens, err := f.Load(ctx)
	if err != nil {
		return nil, err
	}
	if time.Until(tokens.ExpiresAt) > time.Second {
		return client.CreateAgent(ctx, tokens, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return client.CreateAgent(ctx, tokens, &authpi.AgentOptions{Reload: f.Load, OnRefresh: f.save})
}

// Load gives the stored tokens, and a zero set where nobody is signed in.
func (f *File) Load(context.Context) (authpi.TokenSet, error) {
	data, err := os.ReadFile(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return authpi.TokenSet{}, nil
	}
	if err != nil {
		return authpi.TokenSet{}, err
	}
	return authpi.ParseTokenSet(data)
}

// Swap stores the tokens of a new sign-in, or removes the file for a zero set, and
// gives what was there before. A file that cannot be read is replaced, too.
func (f *File) Swap(ctx context.Context, tokens authpi.TokenSet) (last authpi.TokenSet, err error) {
	unlock, err := f.lock(ctx)
	if err != nil {
		return last, err
	}
	defer unlock()
	last, _ = f.Load(ctx)
	if tokens.AccessToken != "" {
		return last, f.write(tokens)
	}
	if err := os.Remove(f.name); !errors.Is(err, fs.ErrNotExist) {
		return last, err
	}
	return last, nil
}

// save stores refreshed tokens, unless later ones are there: a process that was
// stopped for so long that it lost the lock must not store its set over them.
func (f *File) save(ctx context.Context, fresh authpi.TokenSet) error {
	stored, err := f.Load(ctx)
	if err != nil || stored.ExpiresAt.After(fresh.ExpiresAt) {
		return err
	}
	return f.write(fresh)
}

// write replaces the file as a whole. os.CreateTemp makes files of mode 0600.
func (f *File) write(tokens authpi.TokenSet) error {
	temp, err := os.CreateTemp(filepath.Dir(f.name), "new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // if it is still there
	err = json.NewEncoder(temp).Encode(tokens)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), f.name)
}

// abandoned is when a lock counts as left behind: a refresh takes 30 s at most.
const abandoned = time.Minute

// lock waits until this process is the one that has created the lock file. That works
// on every system; a process that was killed blocks the others until the file is old.
func (f *File) lock(ctx context.Context) (unlock func(), err error) {
	name := f.name + ".lock"
	for {
		file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			own, err := file.Stat()
			return func() {
				if now, err := os.Stat(name); err == nil && os.SameFile(own, now) { // and not another's by now
					_ = os.Remove(name)
				}
			}, errors.Join(err, file.Close())
		}
		// Windows says so otherwise while the file is on its way out.
		if !errors.Is(err, fs.ErrExist) && runtime.GOOS != "windows" {
			return nil, err
		}
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(name)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
