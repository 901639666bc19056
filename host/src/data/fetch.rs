//! Fetches data sets into the user's cache: resumed where it stopped, checked before it counts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{cifar10, mnist, svhn};
use crate::progress::Progress;

/// Why a data set could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No recipe for that data set.
    #[error("{name} cannot be fetched; known are {}", super::NAMES.join(", "))]
    Unknown {
        /// The data set.
        name: String,
    },
    /// The server refused or could not be reached.
    #[error("cannot fetch {url}: {reason}; run the same command again to go on where it stopped")]
    Network {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// What arrived is something else.
    #[error("{url} is not the expected file: its contents have SHA-256 {found}, not {expected}; nothing was kept")]
    Checksum {
        /// What was asked for.
        url: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The system refused a file.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Ctrl-C.
    #[error("interrupted; run the same command again to go on where it stopped")]
    Interrupted,
}

const MNIST_URL: &str = "https://ossci-datasets.s3.amazonaws.com/mnist";
const FASHION_URL: &str = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com";
const SVHN_URL: &str = "http://ufldl.stanford.edu/housenumbers";
const CIFAR10_URL: &str = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";
const CIFAR10_SHA256: &str = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd";

/// Fetches a data set into `folder`. Files that are there already are left alone.
///
/// # Errors
/// [`FetchError`]; what was fetched so far is kept and used by the next attempt.
pub fn fetch(name: &str, folder: &Path, progress: Progress) -> Result<(), FetchError> {
    let io = |source| FetchError::Io { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(io)?;
    let as_it_is = |bytes: &[u8]| Ok(bytes.to_vec());
    match name {
        "mnist" => fetch_files(MNIST_URL, ".gz", &mnist::FILES, mnist::gunzipped, folder, progress),
        "fashion-mnist" => fetch_files(FASHION_URL, ".gz", &mnist::FASHION_FILES, as_it_is, folder, progress),
        "svhn" => fetch_files(SVHN_URL, "", &svhn::FILES, as_it_is, folder, progress),
        "cifar10" => {
            let archive = folder.join("cifar-10-binary.tar.gz");
            let part = download(CIFAR10_URL, &archive, CIFAR10_SHA256, as_it_is, progress)?;
            unpack_cifar10(&part, folder).map_err(io)?;
            fs::remove_file(part).map_err(io)
        }
        _ => Err(FetchError::Unknown { name: name.to_owned() }),
    }
}

/// Fetches the files of a list that `folder` lacks, each with `ending` behind its name; `contents` makes of each what its
/// SHA-256 is of.
fn fetch_files(
    url: &str,
    ending: &str,
    files: &[(&str, &str)],
    contents: fn(&[u8]) -> io::Result<Vec<u8>>,
    folder: &Path,
    progress: Progress,
) -> Result<(), FetchError> {
    for (file, sha256) in files {
        let name = format!("{file}{ending}");
        let place = folder.join(&name);
        if !place.exists() {
            let part = download(&format!("{url}/{name}"), &place, sha256, contents, progress)?;
            fs::rename(part, &place).map_err(|source| FetchError::Io { path: folder.to_owned(), source })?;
        }
    }
    Ok(())
}

/// Takes the batches out of CIFAR-10's archive.
fn unpack_cifar10(archive: &Path, folder: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(archive)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if cifar10::TRAIN_FILES.iter().chain(&cifar10::TEST_FILES).any(|&file| file == name) {
            let part = folder.join(format!("{name}.unpacking"));
            io::copy(&mut entry, &mut File::create(&part)?)?;
            fs::rename(part, folder.join(name))?;
        }
    }
    Ok(())
}

/// Downloads to `place` with `.part` appended, going on where an earlier attempt stopped, and checks the SHA-256 of what
/// `contents` makes of it. Returns the path of the part.
fn download(
    url: &str,
    place: &Path,
    sha256: &str,
    contents: fn(&[u8]) -> io::Result<Vec<u8>>,
    progress: Progress,
) -> Result<PathBuf, FetchError> {
    let part = place.with_added_extension("part");
    let io = |source| FetchError::Io { path: part.clone(), source };
    let network = |reason: String| FetchError::Network { url: url.to_owned(), reason };
    let have = fs::metadata(&part).map_or(0, |meta| meta.len());
    let mut request = ureq::get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    match request.call() {
        Ok(response) => {
            // A server that knows no ranges sends everything again.
            let resumed = response.status().as_u16() == 206;
            let mut file = OpenOptions::new().create(true).append(resumed).write(true).truncate(!resumed).open(&part);
            let file = file.as_mut().map_err(|error| io(io::Error::new(error.kind(), error.to_string())))?;
            let done = if resumed { have } else { 0 };
            let length = response.body().content_length().map_or(0, |rest| rest + done);
            let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
            copy(&mut response.into_body().into_reader(), file, done, progress.task(&name, length), &network, &io)?;
        }
        // The whole file is here already.
        Err(ureq::Error::StatusCode(416)) => {}
        Err(error) => return Err(network(error.to_string())),
    }
    let bytes = fs::read(&part).map_err(io)?;
    let found = match contents(&bytes) {
        Ok(contents) => hex(&Sha256::digest(contents)),
        Err(error) => format!("(unreadable: {error})"),
    };
    if found != sha256 {
        fs::remove_file(&part).map_err(io)?;
        return Err(FetchError::Checksum { url: url.to_owned(), expected: sha256.to_owned(), found });
    }
    Ok(part)
}

fn copy(
    from: &mut impl Read,
    to: &mut File,
    mut done: u64,
    mut task: crate::progress::Task,
    network: &impl Fn(String) -> FetchError,
    io: &impl Fn(io::Error) -> FetchError,
) -> Result<(), FetchError> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        if crate::interrupt::requested() {
            return Err(FetchError::Interrupted);
        }
        let count = from.read(&mut buffer).map_err(|error| network(error.to_string()))?;
        if count == 0 {
            break;
        }
        to.write_all(&buffer[..count]).map_err(io)?;
        done += count as u64;
        task.set(done, || format!("{} KiB", done / 1024));
    }
    to.sync_all().map_err(io)?;
    task.finish(format_args!("{} KiB", done / 1024));
    Ok(())
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// A server on this machine that answers each request with the next of `answers` and reports the `Range` it was
    /// asked for.
    fn serve(answers: Vec<Vec<u8>>) -> (String, Receiver<Option<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let (sender, ranges) = channel();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let range = head.iter().find(|line| line.to_lowercase().starts_with("range:")).cloned();
                sender.send(range).unwrap();
                stream.write_all(&answer).unwrap();
            }
        });
        (url, ranges)
    }

    fn answer(status: &str, stated_len: usize, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {stated_len}\r\nConnection: close\r\n\r\n");
        [head.as_bytes(), body].concat()
    }

    fn get(url: &str, folder: &Path, sha256: &str) -> Result<PathBuf, FetchError> {
        download(url, &folder.join("file"), sha256, |bytes| Ok(bytes.to_vec()), Progress::silent())
    }

    #[test]
    fn a_download_goes_on_where_it_stopped() {
        let sha256 = hex(&Sha256::digest(b"hello world"));
        let (url, ranges) = serve(vec![answer("200 OK", 11, b"hello "), answer("206 Partial Content", 5, b"world")]);
        let folder = tempfile::tempdir().unwrap();
        let error = get(&url, folder.path(), &sha256).unwrap_err();
        assert!(matches!(error, FetchError::Network { .. }), "{error}");
        assert_eq!(fs::read(get(&url, folder.path(), &sha256).unwrap()).unwrap(), b"hello world");
        assert_eq!(ranges.recv().unwrap(), None);
        assert_eq!(ranges.recv().unwrap().unwrap().to_lowercase(), "range: bytes=6-");
    }

    #[test]
    fn a_wrong_file_is_not_kept() {
        let (url, _ranges) = serve(vec![answer("200 OK", 5, b"wrong")]);
        let folder = tempfile::tempdir().unwrap();
        let error = get(&url, folder.path(), "00").unwrap_err();
        assert!(matches!(error, FetchError::Checksum { .. }), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_file_is_reported_with_its_address() {
        let (url, _ranges) = serve(vec![answer("404 Not Found", 0, b"")]);
        let folder = tempfile::tempdir().unwrap();
        let error = get(&url, folder.path(), "00").unwrap_err().to_string();
        assert!(error.contains("404") && error.contains(&url), "{error}");
    }
}
