package signin

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// A logout names a session of the issuer or a user. Its sign-ins are found by an
// index in the store: an entry for each sid and one for each sub, which hold the
// keys of records.

// Kinds of index entries and of marks.
const (
	kindSession  = "sid"
	kindUser     = "sub"
	kindUserOnly = "sub without sid" // marks alone
)

const (
	maxIndexed = 1000 // sign-ins under one name; one more ends the oldest
	markLife   = 10 * time.Minute
)

// indexed is a sign-in in the index.
type indexed struct {
	key      string // of the record: 32 bytes
	deadline int64  // seconds since the Unix epoch
	other    string // 8 bytes of a digest of the other name; zero: it has none
}

const indexedSize = 32 + 8 + 8

func tagOf(id string) string {
	if id == "" {
		return string(make([]byte, 8))
	}
	sum := digest("authpihttp tag", id)
	return string(sum[:8])
}

func (b *Book) indexKey(what, kind, id string) string {
	return Name("authpihttp "+what, b.identity, kind, id)
}

// indexCipherKey comes from the name alone, for a logout brings nothing else.
func (b *Book) indexCipherKey(kind, id string) [32]byte {
	return digest("authpihttp index seal", b.identity, kind, id)
}

// readIndex returns the sign-ins under a name that have not passed their deadline.
func (b *Book) readIndex(ctx context.Context, kind, id string) (list []indexed, raw []byte, err error) {
	key := b.indexKey("index", kind, id)
	raw, err = b.entries.find(ctx, key)
	if err != nil || raw == nil {
		return nil, raw, err
	}
	plain, err := cipherOf(b.indexCipherKey(kind, id)).Open(nil, nil, raw, []byte(key))
	if err != nil {
		return nil, raw, nil // written over by somebody else
	}
	now := b.now().Unix()
	for ; len(plain) >= indexedSize; plain = plain[indexedSize:] {
		e := indexed{string(plain[:32]), int64(binary.BigEndian.Uint64(plain[32:])), string(plain[40:48])}
		if e.deadline > now {
			list = append(list, e)
		}
	}
	return list, raw, nil
}

func (b *Book) writeIndex(ctx context.Context, kind, id string, old []byte, list []indexed) (bool, error) {
	key, plain := b.indexKey("index", kind, id), make([]byte, 0, len(list)*indexedSize)
	last := b.now().Unix() + 60 // an empty one goes by itself: a Delete could hit what somebody wrote since
	for _, e := range list {
		plain = append(plain, e.key...)
		plain = binary.BigEndian.AppendUint64(plain, uint64(e.deadline))
		plain = append(plain, e.other...)
		last = max(last, e.deadline)
	}
	sealed := cipherOf(b.indexCipherKey(kind, id)).Seal(nil, nil, plain, []byte(key))
	return b.entries.write(ctx, key, old, sealed, time.Unix(last, 0))
}

// addToIndexes makes a sign-in known under its session and its user.
func (b *Book) addToIndexes(ctx context.Context, agent *authpi.Agent, key string, end time.Time) error {
	raw, err := Base64URL.DecodeString(key)
	if err != nil {
		return err
	}
	e := indexed{key: string(raw), deadline: end.Unix(), other: tagOf(agent.ID)}
	if agent.SessionID != "" {
		if err := b.addToIndex(ctx, kindSession, agent.SessionID, e); err != nil {
			return err
		}
	}
	e.other = tagOf(agent.SessionID)
	return b.addToIndex(ctx, kindUser, agent.ID, e)
}

// addToIndex goes on until nobody else has written at the same time.
func (b *Book) addToIndex(ctx context.Context, kind, id string, e indexed) error {
	const rounds = 100
	for round := range rounds {
		list, raw, err := b.readIndex(ctx, kind, id)
		if err != nil {
			return err
		}
		var oldest []indexed
		if over := len(list) + 1 - maxIndexed; over > 0 {
			oldest, list = list[:over], list[over:]
		}
		written, err := b.writeIndex(ctx, kind, id, raw, append(list, e))
		if err != nil && !errors.Is(err, ErrOvertaken) {
			return err
		}
		if written && err == nil {
			return b.endOldest(ctx, oldest)
		}
		select {
		case <-time.After(time.Duration(1+int(Random()[0])%(round+1)) * time.Millisecond):
		case <-ctx.Done():
			return &StoreError{ctx.Err()}
		}
	}
	return ErrOvertaken
}

func (b *Book) endOldest(ctx context.Context, list []indexed) error {
	for _, e := range list {
		if _, err := b.endIndexed(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// place is where a logout looks for the sign-ins that it names.
type place struct {
	kind, mark, id string
	names          func(e indexed) bool
}

// EndNamed ends the sign-ins that a logout names: those of its session, of its user
// those without a session, and where it names no session all of its user.
func (b *Book) EndNamed(ctx context.Context, token authpi.LogoutToken) error {
	sub, none := tagOf(token.Subject), tagOf("")
	var places []place
	if token.SessionID != "" {
		places = append(places, place{kindSession, kindSession, token.SessionID, func(e indexed) bool {
			return token.Subject == "" || e.other == sub
		}})
	}
	switch {
	case token.Subject != "" && token.SessionID != "":
		places = append(places, place{kindUser, kindUserOnly, token.Subject, func(e indexed) bool { return e.other == none }})
	case token.Subject != "":
		places = append(places, place{kindUser, kindUser, token.Subject, func(indexed) bool { return true }})
	}
	gone := map[string]bool{}
	for _, p := range places {
		if err := b.endPlace(ctx, p, gone); err != nil {
			return err
		}
	}
	return nil
}

// endPlace marks the logout first: a sign-in that is being stored just now is in the
// index, or sees the mark. What it ends is gone from the places that follow, too.
func (b *Book) endPlace(ctx context.Context, p place, gone map[string]bool) error {
	if err := b.mark(ctx, p.mark, p.id); err != nil {
		return err
	}
	list, raw, err := b.readIndex(ctx, p.kind, p.id)
	if err != nil {
		return err
	}
	var left []indexed
	for _, e := range list {
		if p.names(e) {
			if gone[e.key], err = b.endIndexed(ctx, e); err != nil {
				return err
			}
		}
		if !gone[e.key] {
			left = append(left, e)
		}
	}
	if len(left) < len(list) {
		// The next logout need not end them again. Where somebody signs in
		// meanwhile, or the store fails, it does: that harms nobody.
		_, _ = b.writeIndex(ctx, p.kind, p.id, raw, left)
	}
	return nil
}

// endIndexed removes a record and reports whether there was one. Where there is none
// it may be on its way: it must stay in the index.
func (b *Book) endIndexed(ctx context.Context, e indexed) (ended bool, err error) {
	key := Base64URL.EncodeToString([]byte(e.key))
	record, err := b.entries.find(ctx, key)
	if err != nil || record == nil {
		return false, err
	}
	return true, b.entries.remove(ctx, key)
}

// EndSession ends the sign-ins of one session, for a logout that anybody may send:
// it leaves nothing in the store where there is no such session.
func (b *Book) EndSession(ctx context.Context, sid string) error {
	list, _, err := b.readIndex(ctx, kindSession, sid)
	if err != nil || len(list) == 0 {
		return err
	}
	return b.EndNamed(ctx, authpi.LogoutToken{SessionID: sid})
}

// mark notes when a logout came.
func (b *Book) mark(ctx context.Context, kind, id string) error {
	key := b.indexKey("mark", kind, id)
	for range tries {
		old, err := b.entries.find(ctx, key)
		if err != nil {
			return err
		}
		now := b.now()
		mark := strconv.AppendInt(nil, now.UnixNano(), 10)
		if bytes.Equal(old, mark) {
			return nil
		}
		written, err := b.entries.write(ctx, key, old, mark, now.Add(markLife))
		if err != nil && !errors.Is(err, ErrOvertaken) || written && err == nil {
			return err
		}
	}
	return ErrOvertaken
}

// checkLogouts refuses a sign-in whose session or user was logged out since it
// began. A session does not come back, whenever that was.
func (b *Book) checkLogouts(ctx context.Context, agent *authpi.Agent, began time.Time) error {
	names := [][2]string{{kindUser, agent.ID}}
	if agent.SessionID != "" {
		names = append(names, [2]string{kindSession, agent.SessionID})
	} else {
		names = append(names, [2]string{kindUserOnly, agent.ID})
	}
	for _, n := range names {
		mark, err := b.entries.find(ctx, b.indexKey("mark", n[0], n[1]))
		if err != nil {
			return err
		}
		at, _ := strconv.ParseInt(string(mark), 10, 64)
		if mark != nil && (n[0] == kindSession || at > began.UnixNano()) {
			return ErrLoggedOut
		}
	}
	return nil
}
