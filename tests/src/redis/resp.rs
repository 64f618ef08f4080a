//! A Redis client for one command at a time (RESP2): what tests and helpers need to command a server.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::Error;

/// How long an answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// A longer answer is an error.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Lists in lists.
const MAX_DEPTH: usize = 8;

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nil,
    /// A number.
    Integer(i64),
    /// Text or any bytes; also short words such as `OK`.
    Text(Vec<u8>),
    /// Several answers.
    List(Vec<Reply>),
    /// An error inside a list; one that is the whole answer is an [`Error::Refused`].
    Error(String),
}

impl Reply {
    /// Text; what is not UTF-8 is replaced. None if it is something else.
    pub fn as_text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        }
    }

    /// A number, also one that is written as text. None if it is something else.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(_) => self.as_text()?.parse().ok(),
            _ => None,
        }
    }

    /// The members of a list; none if it is something else.
    pub fn as_list(&self) -> &[Reply] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    /// The value after a name, in a list of names and values.
    pub fn field(&self, name: &str) -> Option<&Reply> {
        self.as_list()
            .chunks_exact(2)
            .find(|pair| pair[0].as_text().as_deref() == Some(name))
            .map(|pair| &pair[1])
    }

    /// The value of a line `name:value`, as `INFO` writes them.
    pub fn line(&self, name: &str) -> Option<String> {
        self.as_text()?.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key == name).then(|| value.trim().to_owned())
        })
    }
}

/// Sends one command on a new connection.
pub(super) async fn ask(
    name: &str,
    addr: SocketAddr,
    password: Option<&str>,
    words: &[&str],
) -> Result<Reply, Error> {
    let command = words.first().copied().unwrap_or_default();
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        if let Some(password) = password {
            let reply = exchange(&mut stream, &["AUTH", password]).await?;
            if matches!(reply, Reply::Error(_)) {
                return Ok(reply);
            }
        }
        exchange(&mut stream, words).await
    };
    match timeout(ANSWER_DEADLINE, exchange).await {
        Ok(Ok(Reply::Error(reason))) => Err(Error::Refused {
            process: name.to_owned(),
            command: command.to_owned(),
            reason,
        }),
        Ok(result) => result.map_err(Error::system(format!("cannot send `{command}` to {name}"))),
        Err(_) => Err(Error::Deadline {
            what: format!("the answer of {name} to `{command}`"),
            seen: "nothing".into(),
            deadline: ANSWER_DEADLINE,
        }),
    }
}

async fn exchange(stream: &mut TcpStream, words: &[&str]) -> std::io::Result<Reply> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(command.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if let Some((reply, _)) = read(&answer, MAX_DEPTH)? {
            return Ok(reply);
        }
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(malformed());
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Reads one answer and says how long it is; none if it is not complete.
fn read(bytes: &[u8], depth: usize) -> std::io::Result<Option<(Reply, usize)>> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| malformed())?;
    let body = end + 2;
    let Some(kind) = line.chars().next().filter(char::is_ascii) else {
        return Err(malformed());
    };
    let rest = &line[1..];
    let number = || rest.parse::<i64>().map_err(|_| malformed());
    let reply = match kind {
        '+' => Reply::Text(rest.as_bytes().to_vec()),
        '-' => Reply::Error(rest.to_owned()),
        ':' => Reply::Integer(number()?),
        '$' | '*' if number()? < 0 => Reply::Nil,
        '$' => {
            let length = usize::try_from(number()?).map_err(|_| malformed())?;
            if length > MAX_ANSWER_BYTES {
                return Err(malformed());
            }
            let Some(text) = bytes.get(body..body + length + 2) else {
                return Ok(None);
            };
            return Ok(Some((
                Reply::Text(text[..length].to_vec()),
                body + length + 2,
            )));
        }
        '*' if depth > 0 => {
            let (mut list, mut used) = (Vec::new(), body);
            for _ in 0..number()? {
                let Some((item, length)) = read(&bytes[used..], depth - 1)? else {
                    return Ok(None);
                };
                list.push(item);
                used += length;
            }
            return Ok(Some((Reply::List(list), used)));
        }
        _ => return Err(malformed()),
    };
    Ok(Some((reply, body)))
}

fn malformed() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        "not an answer of a Redis server",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{MAX_DEPTH, Reply, read};

    #[test]
    fn every_kind_of_answer_is_read_once_it_is_complete() {
        let text = |text: &str| Reply::Text(text.into());
        for (bytes, expected) in [
            ("+OK\r\n", text("OK")),
            ("-ERR no\r\n", Reply::Error("ERR no".into())),
            (":-7\r\n", Reply::Integer(-7)),
            ("$-1\r\n", Reply::Nil),
            ("*-1\r\n", Reply::Nil),
            ("$4\r\na\r\nb\r\n", text("a\r\nb")),
            (
                "*3\r\n$1\r\nn\r\n*0\r\n:5\r\n",
                Reply::List(vec![text("n"), Reply::List(vec![]), Reply::Integer(5)]),
            ),
        ] {
            let complete = read(bytes.as_bytes(), MAX_DEPTH).unwrap();
            assert_eq!(complete, Some((expected, bytes.len())), "{bytes:?}");
            for end in 0..bytes.len() {
                let part = read(&bytes.as_bytes()[..end], MAX_DEPTH).unwrap();
                assert_eq!(part, None, "{:?}", &bytes[..end]);
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in ["hello\r\n", "\r\n", "$x\r\n", "*1\r\n?\r\n", "é\r\n"] {
            assert!(read(bytes.as_bytes(), MAX_DEPTH).is_err(), "{bytes:?}");
        }
        let deep = "*1\r\n".repeat(MAX_DEPTH + 1);
        assert!(read(deep.as_bytes(), MAX_DEPTH).is_err());
    }

    #[test]
    fn names_and_lines_lead_to_their_values() {
        let pairs = Reply::List(vec![
            Reply::Text("a".into()),
            Reply::Text("1".into()),
            Reply::Text("b".into()),
            Reply::Integer(2),
        ]);
        assert_eq!(pairs.field("a").and_then(Reply::as_integer), Some(1));
        assert_eq!(pairs.field("b").and_then(Reply::as_integer), Some(2));
        assert_eq!(pairs.field("1"), None);
        let info = Reply::Text("# Server\r\nrole:master\r\n".into());
        assert_eq!(info.line("role").as_deref(), Some("master"));
        assert_eq!(info.line("# Server"), None);
    }
}
