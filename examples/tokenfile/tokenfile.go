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
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// File may be used by several processes at once. Writers take a lock and replace the
// file by renaming, so readers need no lock.
type File struct{ name string }

// Open has one file for each issuer and client: no refresh token goes to an issuer
// that did not make it. It makes the directory.
func Open(dir, issuerURL, clientID string) (*File, error) {
	digest := sha256.Sum256([]byte(issuerURL + "\n" + clientID))
	return &File{filepath.Join(dir, hex.EncodeToString(digest[:8])+".json")}, os.MkdirAll(dir, 0o700)
}

// Agent returns who is signed in. Tokens that are still good cost neither lock nor
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

// Load returns the stored tokens, and a zero set if nobody is signed in.
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
// returns what was there before. A file that cannot be read is replaced, too.
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

// save stores refreshed tokens. It runs under Agent's lock.
func (f *File) save(_ context.Context, fresh authpi.TokenSet) error { return f.write(fresh) }

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

// lock waits until this process has the lock. The system releases it when the
// process ends, however that happens, so no lock is ever stale. The lock file stays.
func (f *File) lock(ctx context.Context) (unlock func(), err error) {
	for {
		file, err := tryLock(f.name + ".lock")
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, errLocked) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// errLocked is tryLock's error where another process has the lock.
var errLocked = errors.New("tokenfile: locked by another process")
