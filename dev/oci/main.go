// The operator's image without a daemon.
//
//	oci build LAYOUT BINARY VERSION REVISION   writes an OCI layout that holds the binary; prints the image's digest
//	oci unpack LAYOUT FOLDER                   checks every digest and writes the image's files; prints its user
//	                                           and its entrypoint
//
// The same binary, version and revision give the same digest: nothing in the image depends on the time or the machine.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// The numeric user of the chart's Deployment. A number needs no /etc/passwd.
const user = "65532:65532"

func main() {
	var err error
	switch arguments := os.Args[1:]; {
	case len(arguments) == 5 && arguments[0] == "build":
		err = build(arguments[1], arguments[2], arguments[3], arguments[4])
	case len(arguments) == 3 && arguments[0] == "unpack":
		err = unpack(arguments[1], arguments[2])
	default:
		err = errors.New("usage: oci build LAYOUT BINARY VERSION REVISION | oci unpack LAYOUT FOLDER")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "oci:", err)
		os.Exit(1)
	}
}

func build(path, binary, version, revision string) error {
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	files, err := archive([]file{
		{name: "etc/"},
		{name: "etc/ssl/"},
		{name: "etc/ssl/certs/"},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: certificates()},
		{name: "mayday", mode: 0o755, content: content},
	})
	if err != nil {
		return err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	config.History = nil
	config.Config = v1.Config{
		User:       user,
		Entrypoint: []string{"/mayday"},
		Labels: map[string]string{
			"org.opencontainers.image.title":       "Mayday",
			"org.opencontainers.image.description": "Kubernetes operator for outages",
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.version":     version,
			"org.opencontainers.image.revision":    revision,
		},
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	written, err := layout.Write(path, empty.Index)
	if err != nil {
		return err
	}
	err = written.AppendImage(image,
		layout.WithPlatform(v1.Platform{OS: config.OS, Architecture: config.Architecture}),
		layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": version}))
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}

// A name that ends in a slash is a folder.
type file struct {
	name    string
	mode    int64
	content []byte
}

func archive(files []file) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, file := range files {
		header := tar.Header{
			Typeflag: tar.TypeReg,
			Name:     file.name,
			Mode:     file.mode,
			Size:     int64(len(file.content)),
			ModTime:  time.Unix(0, 0),
		}
		if strings.HasSuffix(file.name, "/") {
			header.Typeflag, header.Mode = tar.TypeDir, 0o755
		}
		if err := writer.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(file.content); err != nil {
			return nil, err
		}
	}
	err := writer.Close()
	return buffer.Bytes(), err
}

// The authorities that Mozilla trusts, for webhooks over TLS. They come from a module of a fixed version, since those
// of the machine differ from machine to machine.
func certificates() []byte {
	var buffer bytes.Buffer
	for root := range bundle.Roots() {
		// A file cannot say that a root is trusted only in part.
		if root.Constraint == nil {
			buffer.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return buffer.Bytes()
}

func unpack(path, folder string) error {
	index, err := layout.ImageIndexFromPath(path)
	if err != nil {
		return err
	}
	if err := validate.Index(index); err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	if len(manifest.Manifests) != 1 {
		return fmt.Errorf("%s holds %d images, not one", path, len(manifest.Manifests))
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	if err := extract(image, folder); err != nil {
		return err
	}
	fmt.Println(config.Config.User, strings.Join(config.Config.Entrypoint, " "))
	return nil
}

func extract(image v1.Image, folder string) error {
	files := mutate.Extract(image)
	defer files.Close()
	reader := tar.NewReader(files)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(header.Name) {
			return fmt.Errorf("%s is outside of the image", header.Name)
		}
		target := filepath.Join(folder, header.Name)
		switch header.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(target, 0o755)
		case tar.TypeReg:
			var content []byte
			if content, err = io.ReadAll(reader); err == nil {
				err = os.WriteFile(target, content, header.FileInfo().Mode())
			}
		default:
			err = fmt.Errorf("%s is neither a file nor a folder", header.Name)
		}
		if err != nil {
			return err
		}
	}
}
