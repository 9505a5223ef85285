//! Downloads that go on where they stopped, and are used only if their checksum is the known one.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sha1::{Digest, Sha1};
use standard_streams::message;

use crate::progress::Progress;

/// An archive with its published checksum.
pub(super) struct Archive {
    pub(super) name: &'static str,
    pub(super) url: &'static str,
    pub(super) sha1: &'static str,
}

/// MIT SceneParsing150.
pub(super) const ADE20K: Archive = Archive {
    name: "ADEChallengeData2016.zip",
    url: "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
    sha1: "219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
};

/// Connections that may break before a download is given up; what has come is kept.
const TRIES: usize = 5;

/// More than any archive here has.
const MOST_BYTES: u64 = 8 << 30;

/// A connection on which nothing comes for so long is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Downloads an archive into `folder`, unless it is there whole already.
pub(super) fn download(
    archive: &Archive,
    url: Option<&str>,
    folder: &Path,
) -> anyhow::Result<PathBuf> {
    let file = folder.join(archive.name);
    if file.is_file() {
        message(format_args!("{} is there already", file.display()));
        return check(&file, archive);
    }
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let part = folder.join(format!("{}.part", archive.name));
    let url = url.unwrap_or(archive.url);
    let mut pause = Duration::from_millis(500);
    for left in (0..TRIES).rev() {
        match go_on(url, &part, PATIENCE) {
            Ok(()) => break,
            Err(error) if left == 0 => {
                return Err(error.context(format!(
                    "{url}: what has come is kept in {}; the same command goes on from there",
                    part.display()
                )));
            }
            Err(error) => {
                message(format_args!("{error:#}; trying again"));
                std::thread::sleep(pause);
                pause *= 2;
            }
        }
    }
    if let Err(error) = check(&part, archive) {
        // Going on from wrong bytes would never end well.
        std::fs::remove_file(&part).with_context(|| part.display().to_string())?;
        return Err(error.context("the download was removed"));
    }
    std::fs::rename(&part, &file).with_context(|| file.display().to_string())?;
    Ok(file)
}

/// One connection: appends to `part` what it lacks; broken off where nothing comes for so long.
fn go_on(url: &str, part: &Path, patience: Duration) -> anyhow::Result<()> {
    if part.exists() {
        // A named pipe would wait for ever.
        whole_files::open(part)?;
    }
    let mut output = OpenOptions::new().create(true).append(true).open(part)?;
    let have = output.metadata()?.len();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_resolve(Some(patience))
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        // However long the whole takes, as long as something comes.
        .timeout_recv_body(None)
        .timeout_per_read(Some(patience))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let response = request.call().with_context(|| format!("asking for {url}"))?;
    let length = |name: &str| {
        let text = response.headers().get(name)?.to_str().ok()?;
        text.rsplit('/').next()?.parse::<u64>().ok()
    };
    let total = match response.status().as_u16() {
        200 => {
            // The server begins anew, whatever was asked for.
            output.set_len(0)?;
            length("content-length")
        }
        206 => length("content-range"),
        // Nothing is left to send: the checksum will tell.
        416 if have > 0 => return Ok(()),
        other => bail!("the server answered {other}"),
    };
    let progress = Progress::new(total.unwrap_or(0) >> 20);
    let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0; 1 << 20];
    let mut written = output.metadata()?.len();
    loop {
        let count = body.read(&mut buffer).context("the connection broke")?;
        if count == 0 {
            break;
        }
        output.write_all(&buffer[..count]).with_context(|| part.display().to_string())?;
        progress.advance(((written + count as u64) >> 20) - (written >> 20));
        written += count as u64;
        ensure!(written <= MOST_BYTES, "more than {} GiB came: no such archive", MOST_BYTES >> 30);
    }
    progress.finish();
    output.sync_all()?;
    if let Some(total) = total {
        ensure!(written == total, "the connection ended after {written} of {total} bytes");
    }
    Ok(())
}

/// Holds an archive against its published checksum.
pub(super) fn check(file: &Path, archive: &Archive) -> anyhow::Result<PathBuf> {
    let mut input = whole_files::open(file)?;
    let progress = Progress::new(input.metadata()?.len() >> 20);
    progress.doing("checksum");
    let mut hash = Sha1::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = input.read(&mut buffer).with_context(|| file.display().to_string())?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        progress.advance(count as u64 >> 20);
    }
    progress.finish();
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(
        found == archive.sha1,
        "{}: SHA-1 {found}, but {} has {}: another file, or a damaged one",
        file.display(),
        archive.name,
        archive.sha1
    );
    Ok(file.to_path_buf())
}

/// Unpacks an archive into `folder` and returns how many files it held. Files that are there already
/// as the archive has them are kept, so that a call that was interrupted goes on.
///
/// # Errors
///
/// An archive that cannot be read, files of its names with other contents (nothing is unpacked then),
/// and a folder that cannot be written.
pub(super) fn unpack(archive: &Path, folder: &Path) -> anyhow::Result<usize> {
    let context = || format!("unpacking {}", archive.display());
    let input = whole_files::open(archive).with_context(context)?;
    let mut zip = zip::ZipArchive::new(input).with_context(context)?;
    let mut others = Vec::new();
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).with_context(context)?;
        let Some(target) = entry.enclosed_name().map(|name| folder.join(name)) else { continue };
        if !entry.is_dir() && target.exists() && !is_same(&target, entry.size(), entry.crc32())? {
            others.push(target.display().to_string());
        }
    }
    ensure!(
        others.is_empty(),
        "nothing is unpacked, since {} files are there already that differ from the archive's; move \
         them away, or take another folder: {}",
        others.len(),
        others.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ")
    );
    let progress = Progress::new(zip.len() as u64);
    progress.doing("unpacking");
    let (mut files, mut cleared) = (0, BTreeSet::new());
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).with_context(context)?;
        progress.advance(1);
        // A name that leads out of the folder has none.
        let Some(name) = entry.enclosed_name() else { continue };
        let target = folder.join(name);
        if entry.is_dir() {
            std::fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
            continue;
        }
        files += 1;
        if target.exists() {
            continue;
        }
        if let Some(parent) = target.parent().filter(|parent| !cleared.contains(*parent)) {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
            whole_files::clear_leftovers(parent)?;
            cleared.insert(parent.to_owned());
        }
        whole_files::write_with(&target, |out| std::io::copy(&mut entry, out).map(|_| ()))?;
    }
    progress.finish();
    Ok(files)
}

/// Whether a file has this size and this checksum, as archives keep them.
fn is_same(file: &Path, size: u64, crc32: u32) -> anyhow::Result<bool> {
    let mut input = whole_files::open(file)?;
    if input.metadata().with_context(|| file.display().to_string())?.len() != size {
        return Ok(false);
    }
    let mut sum = flate2::CrcWriter::new(std::io::sink());
    std::io::copy(&mut input, &mut sum).with_context(|| file.display().to_string())?;
    Ok(sum.crc().sum() == crc32)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;

    /// Serves `bytes` on this machine, `per_connection` of them at most before it hangs up.
    fn serve(bytes: Vec<u8>, per_connection: usize) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/archive.zip", listener.local_addr()?);
        std::thread::spawn(move || -> anyhow::Result<()> {
            for stream in listener.incoming() {
                let mut stream = stream?;
                let mut from = 0;
                let mut lines = BufReader::new(stream.try_clone()?).lines();
                while let Some(Ok(line)) = lines.next() {
                    if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                        from = range.trim_end_matches('-').parse()?;
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let (length, rest) = (bytes.len(), bytes.len() - from);
                let head = if from == 0 {
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")
                } else {
                    format!(
                        "HTTP/1.1 206 Partial Content\r\nContent-Length: {rest}\r\n\
                         Content-Range: bytes {from}-{}/{length}\r\n\r\n",
                        length - 1
                    )
                };
                stream.write_all(head.as_bytes())?;
                stream.write_all(&bytes[from..(from + per_connection).min(length)])?;
            }
            Ok(())
        });
        Ok(url)
    }

    /// A zip of one file and its checksum.
    fn archive() -> anyhow::Result<(Vec<u8>, Archive)> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut zip = zip::ZipWriter::new(&mut bytes);
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file("ADEChallengeData2016/images/x.txt", options)?;
        zip.write_all(&b"seventeen letters".repeat(500))?;
        zip.finish()?;
        let bytes = bytes.into_inner();
        let sha1: String = Sha1::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        let archive = Archive { name: "archive.zip", url: "", sha1: sha1.leak() };
        Ok((bytes, archive))
    }

    #[test]
    fn a_broken_download_goes_on_and_is_unpacked() -> anyhow::Result<()> {
        let (bytes, archive) = archive()?;
        let url = serve(bytes.clone(), bytes.len() / 3 + 1)?;
        let dir = tempfile::tempdir()?;
        let file = download(&archive, Some(&url), dir.path())?;
        assert_eq!(std::fs::read(&file)?, bytes);
        assert_eq!(unpack(&file, dir.path())?, 1);
        let text = std::fs::read(dir.path().join("ADEChallengeData2016/images/x.txt"))?;
        assert_eq!(text.len(), 17 * 500);
        // A second call downloads nothing.
        assert_eq!(download(&archive, Some("http://127.0.0.1:1/"), dir.path())?, file);
        Ok(())
    }

    /// Takes every connection and never says a word, or no more than the beginning.
    fn stall(beginning: &'static str) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/archive.zip", listener.local_addr()?);
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(beginning.as_bytes());
                kept.push(stream);
            }
        });
        Ok(url)
    }

    #[test]
    fn a_server_that_says_nothing_more_is_given_up() -> anyhow::Result<()> {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nPK";
        for beginning in ["", head] {
            let (url, dir) = (stall(beginning)?, tempfile::tempdir()?);
            let part = dir.path().join("archive.zip.part");
            let start = std::time::Instant::now();
            let given_up = go_on(&url, &part, Duration::from_millis(300)).unwrap_err();
            assert!(start.elapsed() < Duration::from_secs(20), "{given_up:#}");
            assert!(format!("{given_up:#}").contains("timeout"), "{given_up:#}");
        }
        Ok(())
    }

    #[test]
    fn files_that_are_there_stay_as_they_are() -> anyhow::Result<()> {
        let (bytes, _) = archive()?;
        let dir = tempfile::tempdir()?;
        let (file, own) = (dir.path().join("a.zip"), dir.path().join("set"));
        std::fs::write(&file, bytes)?;
        let target = own.join("ADEChallengeData2016/images/x.txt");
        assert_eq!(unpack(&file, &own)?, 1);
        let first = std::fs::metadata(&target)?.modified()?;
        assert_eq!(unpack(&file, &own)?, 1);
        assert_eq!(std::fs::metadata(&target)?.modified()?, first, "not written again");
        // As long as the archive's, and another.
        let mine = b"Seventeen letters".repeat(500);
        std::fs::write(&target, &mine)?;
        let message = unpack(&file, &own).unwrap_err().to_string();
        assert!(
            message.contains("images/x.txt") && message.contains("move them away"),
            "{message}"
        );
        assert_eq!(std::fs::read(&target)?, mine);
        Ok(())
    }

    #[test]
    fn another_file_is_not_used() -> anyhow::Result<()> {
        let (bytes, archive) = archive()?;
        let url = serve([&bytes[..], b"!"].concat(), usize::MAX / 2)?;
        let dir = tempfile::tempdir()?;
        let message = format!("{:#}", download(&archive, Some(&url), dir.path()).unwrap_err());
        assert!(message.contains("SHA-1") && message.contains(archive.sha1), "{message}");
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 0, "nothing wrong is left behind");
        Ok(())
    }
}
