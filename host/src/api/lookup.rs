//! One socket by its id, on whatever server it is: the whole-cluster calls that
//! `socket.io-adapter-postgres` had, under today's names.

use tokio::time::timeout_at;

use super::{ApiError, IntoRooms, Operators, SocketId};
use crate::cluster::{Body, Local, Partial, Room, SocketInfo, Target};

/// Where a socket is.
enum Place {
    /// On this server.
    Here(Vec<Room>),
    /// On another one.
    There(Vec<Room>),
    /// Not known: some servers did not answer.
    Unknown(ApiError),
}

/// These look for one socket in the whole namespace, whatever was selected before. Each asks the
/// other servers where the socket is, and ends as soon as one has it, or with the
/// [`timeout`](Self::timeout).
///
/// A socket's id is the name of a room. What is done to the socket is done to every other socket
/// that has joined a room of that name as well, as in Node.js: no message of the cluster means one
/// socket only.
impl Operators {
    /// The rooms of one socket, its own id among them. (`clientRooms` in
    /// `socket.io-adapter-postgres`.)
    ///
    /// # Errors
    /// [`ApiError::NoSuchSocket`] when no server has it, [`ApiError::Unanswered`] when none that
    /// answered in time has it, [`ApiError::NotServed`] and [`ApiError::Cluster`] when the others
    /// could not be asked.
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
    /// let rooms = board.of("/").rooms_of("Kx7bM0aVhz6OBsFTAAAB").await?;
    /// println!("{rooms:?}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rooms_of(&self, id: impl Into<SocketId>) -> Result<Vec<Room>, ApiError> {
        match self.find(&id.into()).await? {
            Place::Here(rooms) | Place::There(rooms) => Ok(rooms),
            Place::Unknown(error) => Err(error),
        }
    }

    /// Makes one socket join rooms. (`remoteJoin` in `socket.io-adapter-postgres`.)
    ///
    /// # Errors
    /// [`ApiError::NoSuchSocket`] when no server has it. [`ApiError::Unanswered`] when none that
    /// answered in time has it: then the others were told to do it all the same.
    /// [`ApiError::NotServed`] and [`ApiError::Cluster`] when they could not be asked or told:
    /// nothing was done.
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
    /// board.of("/").remote_join("Kx7bM0aVhz6OBsFTAAAB", "lobby").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remote_join(
        &self,
        id: impl Into<SocketId>,
        rooms: impl IntoRooms,
    ) -> Result<(), ApiError> {
        let (id, rooms) = (id.into(), rooms.into_rooms());
        let order = Body::SocketsJoin {
            target: only(&id),
            rooms: rooms.clone(),
        };
        let here = |local: &dyn Local| local.join(&only(&id), &rooms);
        self.one_socket(&id, here, order).await
    }

    /// Makes one socket leave rooms. (`remoteLeave` in `socket.io-adapter-postgres`.)
    ///
    /// # Errors
    /// As [`remote_join`](Self::remote_join).
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
    /// board.of("/").remote_leave("Kx7bM0aVhz6OBsFTAAAB", "lobby").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remote_leave(
        &self,
        id: impl Into<SocketId>,
        rooms: impl IntoRooms,
    ) -> Result<(), ApiError> {
        let (id, rooms) = (id.into(), rooms.into_rooms());
        let order = Body::SocketsLeave {
            target: only(&id),
            rooms: rooms.clone(),
        };
        let here = |local: &dyn Local| local.leave(&only(&id), &rooms);
        self.one_socket(&id, here, order).await
    }

    /// Disconnects one socket from the namespace; with `close` from its whole connection.
    /// (`remoteDisconnect` in `socket.io-adapter-postgres`.)
    ///
    /// # Errors
    /// As [`remote_join`](Self::remote_join).
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
    /// board.of("/").remote_disconnect("Kx7bM0aVhz6OBsFTAAAB", true).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remote_disconnect(
        &self,
        id: impl Into<SocketId>,
        close: bool,
    ) -> Result<(), ApiError> {
        let id = id.into();
        let order = Body::DisconnectSockets {
            target: only(&id),
            close,
        };
        let here = |local: &dyn Local| local.disconnect(&only(&id), close);
        self.one_socket(&id, here, order).await
    }

    /// Finds a socket, and does something with it: here, or by an order to the other servers.
    async fn one_socket(
        &self,
        id: &SocketId,
        here: impl FnOnce(&dyn Local),
        order: Body,
    ) -> Result<(), ApiError> {
        let deadline = self.cluster.deadline(self.timeout);
        let place = self.find(id).await?;
        if let (Place::Here(_), Some(local)) = (&place, self.cluster.local(&self.namespace)) {
            if self.cluster.options().connection_state_recovery {
                // Events that wait for the socket come first. An error does not keep it from being
                // done here, and nobody else is concerned.
                let sent = self.cluster.send_in_order(local.clone(), order);
                if timeout_at(deadline, sent).await.is_ok() {
                    return Ok(());
                }
            }
            here(&*local);
            return Ok(());
        }
        self.cluster
            .send_until(deadline, &self.namespace, order)
            .await?;
        match place {
            Place::Here(_) | Place::There(_) => Ok(()),
            Place::Unknown(error) => Err(error),
        }
    }

    async fn find(&self, id: &SocketId) -> Result<Place, ApiError> {
        let local = self.cluster.local(&self.namespace);
        let here = local.map_or_else(Vec::new, |local| local.sockets(&only(id)));
        if let Some(rooms) = rooms_of(here, id) {
            return Ok(Place::Here(rooms));
        }
        let Partial {
            items,
            missing,
            missing_unknown,
        } = self
            .cluster
            .find_socket(&self.namespace, id.as_str(), self.timeout)
            .await?;
        if let Some((_, socket)) = items.into_iter().next() {
            return Ok(Place::There(socket.rooms));
        }
        let id = id.clone();
        if missing.is_empty() && missing_unknown == 0 {
            return Err(ApiError::NoSuchSocket { id });
        }
        Ok(Place::Unknown(ApiError::Unanswered {
            id,
            missing,
            missing_unknown,
        }))
    }
}

fn only(id: &SocketId) -> Target {
    Target {
        rooms: [Room::from(id.as_str())].into(),
        ..Target::default()
    }
}

/// Others may have joined a room of that name.
fn rooms_of(sockets: Vec<SocketInfo>, id: &SocketId) -> Option<Vec<Room>> {
    let socket = sockets
        .into_iter()
        .find(|socket| *socket.id == *id.as_str());
    socket.map(|socket| socket.rooms)
}
