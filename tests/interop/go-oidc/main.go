// A web app that signs people in with go-oidc and golang.org/x/oauth2.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log"
	"net/http"
	"os"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

func main() {
	ctx := context.Background()
	provider, err := oidc.NewProvider(ctx, os.Getenv("ISSUER"))
	if err != nil {
		log.Fatal(err)
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: os.Getenv("CLIENT_ID")})
	config := oauth2.Config{
		ClientID:     os.Getenv("CLIENT_ID"),
		ClientSecret: os.Getenv("CLIENT_SECRET"),
		Endpoint:     provider.Endpoint(),
		RedirectURL:  os.Getenv("REDIRECT_URI"),
		Scopes:       []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
	}

	http.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		state, nonce, pkce := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
		setCookie(w, "state", state)
		setCookie(w, "nonce", nonce)
		setCookie(w, "pkce", pkce)
		url := config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(pkce))
		http.Redirect(w, r, url, http.StatusFound)
	})

	http.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("state") != cookie(r, "state") {
			http.Error(w, "wrong state", http.StatusBadRequest)
			return
		}
		token, err := config.Exchange(ctx, r.URL.Query().Get("code"), oauth2.VerifierOption(cookie(r, "pkce")))
		if err != nil {
			http.Error(w, "exchange: "+err.Error(), http.StatusBadRequest)
			return
		}
		raw, _ := token.Extra("id_token").(string)
		idToken, err := verifier.Verify(ctx, raw)
		if err != nil {
			http.Error(w, "ID token: "+err.Error(), http.StatusBadRequest)
			return
		}
		if idToken.Nonce != cookie(r, "nonce") {
			http.Error(w, "wrong nonce", http.StatusBadRequest)
			return
		}
		if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
			http.Error(w, "at_hash: "+err.Error(), http.StatusBadRequest)
			return
		}
		info, err := provider.UserInfo(ctx, config.TokenSource(ctx, token))
		if err != nil {
			http.Error(w, "userinfo: "+err.Error(), http.StatusBadRequest)
			return
		}
		var claims struct{ Name string }
		if err := info.Claims(&claims); err != nil {
			http.Error(w, "claims: "+err.Error(), http.StatusBadRequest)
			return
		}
		// A token source refreshes the access token when it expires. This one does so immediately.
		fresh, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
		if err != nil {
			http.Error(w, "refresh: "+err.Error(), http.StatusBadRequest)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{
			"subject": idToken.Subject, "name": claims.Name, "email": info.Email, "email_verified": info.EmailVerified,
			"other_access_token":  fresh.AccessToken != token.AccessToken,
			"other_refresh_token": fresh.RefreshToken != token.RefreshToken,
		})
	})

	log.Fatal(http.ListenAndServe(os.Getenv("LISTEN"), nil))
}

func setCookie(w http.ResponseWriter, name, value string) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: 600, HttpOnly: true})
}

func cookie(r *http.Request, name string) string {
	found, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return found.Value
}
