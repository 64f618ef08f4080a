//! How callers name rooms.

use std::sync::Arc;

use crate::cluster::Room;

use super::SocketId;

/// One or several rooms: text, a socket's id, a number (sockets of Node.js servers can be in rooms
/// with numbers for names), or a list of these.
///
/// ```
/// use switchboard::{IntoRooms, cluster::Room};
///
/// assert_eq!("lobby".into_rooms(), [Room::from("lobby")]);
/// assert_eq!(["a", "b"].into_rooms().len(), 2);
/// assert_eq!(42.into_rooms(), [Room::Number(42.0)]);
/// ```
pub trait IntoRooms {
    /// The rooms.
    fn into_rooms(self) -> Vec<Room>;
}

macro_rules! one_room {
    ($($type:ty),+ => $make:expr) => {
        $(impl IntoRooms for $type {
            fn into_rooms(self) -> Vec<Room> {
                let make: fn($type) -> Room = $make;
                vec![make(self)]
            }
        })+
    };
}

one_room!(String, Arc<str> => |name| Room::from(name));
one_room!(Room => |room| room);
one_room!(SocketId => |id| Room::from(id.as_str()));
one_room!(f64 => Room::Number);
one_room!(i32, u32 => |number| Room::Number(number.into()));

impl IntoRooms for &str {
    fn into_rooms(self) -> Vec<Room> {
        vec![Room::from(self)]
    }
}

impl<T: IntoRooms + Clone> IntoRooms for &T {
    fn into_rooms(self) -> Vec<Room> {
        self.clone().into_rooms()
    }
}

impl<T: IntoRooms> IntoRooms for Vec<T> {
    fn into_rooms(self) -> Vec<Room> {
        self.into_iter().flat_map(IntoRooms::into_rooms).collect()
    }
}

impl<T: IntoRooms, const N: usize> IntoRooms for [T; N] {
    fn into_rooms(self) -> Vec<Room> {
        self.into_iter().flat_map(IntoRooms::into_rooms).collect()
    }
}

impl<T: IntoRooms + Clone> IntoRooms for &[T] {
    fn into_rooms(self) -> Vec<Room> {
        self.iter()
            .cloned()
            .flat_map(IntoRooms::into_rooms)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_named_by_text_ids_numbers_and_lists() {
        let a = [Room::from("a")];
        assert_eq!("a".into_rooms(), a);
        assert_eq!("a".to_owned().into_rooms(), a);
        assert_eq!((&"a".to_owned()).into_rooms(), a);
        assert_eq!([SocketId::from("a")].into_rooms(), a);
        assert_eq!(["a"][..].into_rooms(), a);
        let [a] = a;
        assert_eq!(vec!["a", "b"].into_rooms(), [a, Room::from("b")]);
        assert_eq!(
            [1, -2].into_rooms(),
            [Room::Number(1.0), Room::Number(-2.0)]
        );
        assert!(Vec::<String>::new().into_rooms().is_empty());
    }
}
