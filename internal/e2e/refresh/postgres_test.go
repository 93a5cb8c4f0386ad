//go:build unix

package refresh

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestProcessesSharePostgres(t *testing.T) {
	dsn, db := startPostgres(t)
	idp := newIssuer(t, authpitest.Options{})
	all := startWorkers(t, setup{Issuer: idp.URL, ClientID: idp.ClientID(), Postgres: dsn, Advisory: true}, four[:]...)
	defer stop(all)
	tokens := idp.signIn()
	slowly(idp, 0, 50*time.Millisecond)
	const callers = 50
	said := create(all, order{Tokens: expired(tokens), Callers: callers})
	wantOneRequest(t, idp, tokens.RefreshToken)
	wantOneSet(t, said, callers, idp.uses(label(tokens.RefreshToken))[0].next)
	if said[0].Tokens == nil {
		t.Fatal("no tokens")
	}

	rows, err := db.QueryContext(t.Context(), `SELECT id, result, convert_to(authpi_refresh::text, 'UTF8') FROM authpi_refresh`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var dump strings.Builder
	for rows.Next() {
		var id string
		var result, row []byte
		if err := rows.Scan(&id, &result, &row); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&dump, "%s\n%s\n%s\n", id, result, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	wantNoToken(t, "the dump of the table", dump.String(), tokens, *said[0].Tokens)
}

// The lock lasts as long as the connection, so a frozen process keeps it.
func TestFrozenHolderOfPostgres(t *testing.T) {
	t.Parallel()
	dsn, _ := startPostgres(t)
	idp := newIssuer(t, authpitest.Options{})
	all := startWorkers(t, setup{Issuer: idp.URL, ClientID: idp.ClientID(), Postgres: dsn, Advisory: true}, "holder", "next")
	defer stop(all)
	wantFrozenHolderWaitedFor(t, idp, all[0], all[1], 10)
}

// Every update of a session is written down by the database itself.
const keepHistory = `
CREATE TABLE history (n bigserial PRIMARY KEY, id text, before text, after text);
CREATE FUNCTION keep_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO history (id, before, after) VALUES (NEW.key,
		convert_from(OLD.data, 'UTF8')::jsonb->'tokens'->>'refresh_token', convert_from(NEW.data, 'UTF8')::jsonb->'tokens'->>'refresh_token');
	RETURN NEW;
END $$;
CREATE TRIGGER keep_history AFTER UPDATE ON authpi_store FOR EACH ROW EXECUTE FUNCTION keep_history();`

// Four processes use sessions whose tokens expire all the time: with Reload and a
// conditional update alone, and with a coordinator besides.
func TestReload(t *testing.T) {
	for _, kind := range []struct {
		name            string
		advisory, redis bool
	}{
		{"and nothing else", false, false},
		{"and PostgreSQL coordinator", true, false},
		{"and Redis coordinator", false, true},
	} {
		t.Run(kind.name, func(t *testing.T) {
			dsn, db := startPostgres(t)
			idp := newIssuer(t, authpitest.Options{AccessTokenLifetime: 2 * time.Second})
			slowly(idp, 0, 10*time.Millisecond)
			if _, err := db.ExecContext(t.Context(), keepHistory); err != nil {
				t.Fatal(err)
			}
			s := setup{Issuer: idp.URL, ClientID: idp.ClientID(), Postgres: dsn, Advisory: kind.advisory}
			if kind.redis {
				s.Redis = startRedis(t).addr
			}
			all := startWorkers(t, s, four[:]...)
			defer stop(all)

			sessions := sessionsOf(db, idp)
			first := make(map[string]string) // a session's first refresh token
			var ids []string
			for n := range 24 {
				id, tokens := fmt.Sprintf("s%d", n), idp.signIn()
				if err := sessions.Create(t.Context(), id, tokens); err != nil {
					t.Fatal(err)
				}
				ids, first[id] = append(ids, id), tokens.RefreshToken
			}
			for _, p := range all {
				p.send(order{Op: opHammer, Sessions: ids, Callers: 2, For: 5 * time.Second, Pause: 200 * time.Millisecond})
			}
			calls, passing := 0, 0
			ended := make(map[string]string)
			for _, p := range all {
				r := p.await(evHammered)
				calls += r.Calls
				passing += len(r.Failures)
				for _, f := range r.Failures {
					t.Errorf("a failure that does not end the session: %v", f)
				}
				for id, why := range r.Ended {
					ended[id] = why
				}
			}

			spent, between, inside := idp.doubles()
			t.Logf("%d calls, %d tokens spent, %d of them by two processes or more; %d of %d sessions lost",
				calls, spent, between, len(ended), len(ids))
			if inside > 0 {
				t.Errorf("%d times one process spent a token twice", inside)
			}
			if spent < len(ids) {
				t.Errorf("%d tokens were spent by %d sessions; want at least one each", spent, len(ids))
			}
			coordinated := kind.advisory || kind.redis
			if coordinated && between > 0 {
				t.Errorf("%d tokens were spent by two processes; want none with a coordinator", between)
			}
			for id, token := range first {
				before, after, twice := idp.reuse(label(token))
				why, lost := ended[id]
				switch {
				case lost && !twice:
					t.Errorf("%s ended without a token spent twice: %s", id, why)
				case twice == idp.SessionAlive(token):
					t.Errorf("%s: token spent twice: %t (%+v, %+v); session alive: %t", id, twice, before, after, !twice)
				}
			}
			wantOrder(t, idp, db)
		})
	}
}

// wantOrder fails where a set was stored over one that was issued later.
func wantOrder(t *testing.T, idp *issuer, db *sql.DB) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT id, before, after FROM history ORDER BY n`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	updates := 0
	for rows.Next() {
		var id, before, after string
		if err := rows.Scan(&id, &before, &after); err != nil {
			t.Fatal(err)
		}
		updates++
		if older, newer := idp.issuedAs(after), idp.issuedAs(before); older < newer {
			t.Errorf("update %d, of %s: set %d was stored over set %d", updates, id, older, newer)
		}
	}
	if err := rows.Err(); err != nil || updates == 0 {
		t.Errorf("looked at %d updates: %v; want some", updates, err)
	}
	t.Logf("%d updates of sessions, all in the order of issue unless said otherwise", updates)
}
