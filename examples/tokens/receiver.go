// Reads a token from stdin, and prints which app has made it for us.
//
//	vestibule token jwt --audience billing | go run receiver.go ca.crt billing
//
// Needs Go 1.19 or newer, and nothing else.
// Left out: CRLs, one use only (replay), roles, a longest life for tokens, and JSON in which a member is there twice.
// A token that is bound to a certificate (cnf) is refused, since nobody tells this program who the caller is.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"strings"
	"time"
)

const skew = 60

type header struct {
	Alg  string
	X5c  [][]byte
	Crit json.RawMessage
}

type claims struct {
	Aud           audiences
	Sub           string
	Exp, Nbf, Iat *int64
	Cnf           json.RawMessage
}

// verify gives the app that has made token for audience, as its certificate says.
func verify(token string, cas *x509.CertPool, audience string) (string, error) {
	parts := strings.Split(token, ".")
	if len(token) > 16384 || len(parts) != 3 {
		return "", errors.New("it is no token")
	}
	var header header
	if err := decode(parts[0], &header); err != nil {
		return "", err
	}
	if len(header.X5c) < 1 || len(header.X5c) > 6 || header.Crit != nil {
		return "", errors.New("it carries no certificates, or wants something that is not known here")
	}
	leaf, err := x509.ParseCertificate(header.X5c[0])
	if err != nil {
		return "", err
	}
	above := x509.NewCertPool()
	for _, der := range header.X5c[1:] {
		ca, err := x509.ParseCertificate(der)
		if err != nil {
			return "", err
		}
		above.AddCert(ca)
	}

	// Signatures, dates and constraints of the whole path, and the leaf's extended key usage.
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: cas, Intermediates: above, KeyUsages: usages}); err != nil {
		return "", err
	}
	if leaf.IsCA || leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return "", errors.New("its key is not for signatures")
	}

	// From here on the certificate is believed, and the token is not.
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || !isSigned(header.Alg, leaf.PublicKey, []byte(parts[0]+"."+parts[1]), signature) {
		return "", errors.New("its signature is wrong, or its algorithm does not fit its key")
	}
	var claims claims
	if err := decode(parts[1], &claims); err != nil {
		return "", err
	}
	now := time.Now().Unix()
	switch {
	case claims.Exp == nil || claims.Nbf == nil || claims.Iat == nil:
		return "", errors.New("it does not say until when it counts")
	case now-skew >= *claims.Exp:
		return "", errors.New("it has expired")
	case now+skew < *claims.Nbf || now+skew < *claims.Iat:
		return "", errors.New("it is from the future")
	case !claims.Aud.have(audience):
		return "", errors.New("it is for somebody else")
	case claims.Cnf != nil:
		return "", errors.New("it is bound to a certificate, and the caller's is not known here")
	}
	app, err := appOf(leaf)
	if err == nil && claims.Sub != "cf:app:"+app {
		err = errors.New("it speaks for another app than its certificate")
	}
	return app, err
}

// isSigned lets the key say which algorithms count, and not the header (RFC 8725, section 3.1).
func isSigned(algorithm string, key any, message, signature []byte) bool {
	hashed := sha256.Sum256(message)
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch {
		case key.N.BitLen() < 2048 || key.N.BitLen() > 4096:
			return false
		case algorithm == "RS256":
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, hashed[:], signature) == nil
		case algorithm == "PS256":
			salt := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
			return rsa.VerifyPSS(key, crypto.SHA256, hashed[:], signature, salt) == nil
		}
	case *ecdsa.PublicKey:
		switch algorithm + " with " + key.Params().Name {
		case "ES256 with P-256":
			return isECDSA(key, hashed[:], signature, 32)
		case "ES384 with P-384":
			hashed := sha512.Sum384(message)
			return isECDSA(key, hashed[:], signature, 48)
		}
	case ed25519.PublicKey:
		return algorithm == "EdDSA" && ed25519.Verify(key, message, signature)
	}
	return false
}

// isECDSA reads a signature as r || s of half bytes each (RFC 7518, section 3.4).
func isECDSA(key *ecdsa.PublicKey, hashed, signature []byte, half int) bool {
	if len(signature) != 2*half {
		return false
	}
	r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
	return ecdsa.Verify(key, hashed, r, s)
}

// appOf gives the GUID in OU=app:GUID. The CN is the instance's; without it the instance is about to stop.
func appOf(leaf *x509.Certificate) (string, error) {
	var apps []string
	for _, unit := range leaf.Subject.OrganizationalUnit {
		if strings.HasPrefix(unit, "app:") {
			apps = append(apps, strings.TrimPrefix(unit, "app:"))
		}
	}
	if len(apps) != 1 || leaf.Subject.CommonName == "" {
		return "", errors.New("its certificate does not name one app and one instance")
	}
	return apps[0], nil
}

// audiences are one or several (RFC 7519, section 4.1.3).
type audiences []string

func (all *audiences) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*all = audiences{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(all))
}

func (all audiences) have(audience string) bool {
	for _, one := range all {
		if one == audience {
			return true
		}
	}
	return false
}

func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: receiver CA_FILE AUDIENCE < TOKEN")
		os.Exit(2)
	}
	pem, err := os.ReadFile(os.Args[1])
	cas := x509.NewCertPool()
	if err != nil || !cas.AppendCertsFromPEM(pem) {
		fmt.Fprintln(os.Stderr, os.Args[1]+": no CA can be read")
		os.Exit(2)
	}
	token, err := io.ReadAll(os.Stdin)
	if err == nil {
		var app string
		if app, err = verify(strings.TrimSpace(string(token)), cas, os.Args[2]); err == nil {
			fmt.Println("permit", app)
			return
		}
	}
	fmt.Fprintln(os.Stderr, "refused:", err)
	os.Exit(1)
}
