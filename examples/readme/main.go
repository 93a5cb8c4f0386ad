package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"net/http"
	"os"
	"sync"

	authpi "github.com/authpi/authpi-idp-go"
)

var sessions sync.Map // by cookie; a real app has a session store

func get(r *http.Request) (id string, value any) {
	if c, err := r.Cookie("session"); err == nil {
		id = c.Value
		value, _ = sessions.Load(id)
	}
	return id, value
}

func put(w http.ResponseWriter, value any) {
	id := rand.Text()
	sessions.Store(id, value)
	http.SetCookie(w, &http.Cookie{Name: "session", Value: id, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode}) // and Secure, with https
}

func main() {
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL:    os.Getenv("AUTHPI_ISSUER_URL"), // https://idp.authpi.com/i_...
		ClientID:     os.Getenv("AUTHPI_CLIENT_ID"),
		ClientSecret: os.Getenv("AUTHPI_CLIENT_SECRET"),
		RedirectURI:  "http://127.0.0.1:8080/callback", // as registered
	})
	if err != nil {
		log.Fatal(err)
	}

	http.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		auth, err := client.CreateAuthorizationURL([]string{"openid", "email"}, nil)
		if err != nil {
			log.Print("login: ", err)
			http.Error(w, "sign-in is not configured", http.StatusInternalServerError)
			return
		}
		put(w, *auth)
		http.Redirect(w, r, auth.URL, http.StatusFound)
	})

	http.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		id, stored := get(r)
		auth, _ := stored.(authpi.AuthorizationURL) // if there is none, no state fits
		agent, err := client.ExchangeCallback(r.Context(), r.URL.Query(), auth)
		if err != nil {
			log.Print("callback: ", err) // holds no token, code or secret
			http.Error(w, "you are not signed in", http.StatusBadRequest)
			return
		}
		sessions.Delete(id)
		put(w, agent.Tokens) // under a new session ID
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})

	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		id, stored := get(r)
		tokens, _ := stored.(authpi.TokenSet)
		agent, err := client.CreateAgent(r.Context(), tokens, &authpi.AgentOptions{
			OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
				sessions.Store(id, tokens) // the old refresh token is spent
				return nil
			},
		})
		switch {
		case authpi.SessionEnded(err):
			http.Redirect(w, r, "/login", http.StatusFound)
		case err != nil:
			log.Print("refresh: ", err)
			http.Error(w, "try again in a moment", http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "Signed in as", agent.Email)
			for _, org := range agent.Organizations {
				fmt.Fprintln(w, org.ID, "may read projects:", agent.HasAccessIn(org.ID, "read", "projects"))
			}
		}
	})

	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}
