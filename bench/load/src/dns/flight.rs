//! Questions of one socket that wait for their answers.
//!
//! ```text
//!   id: generation (high bits) | place in the table (low bits)
//! ```
//! An answer is found without a search, and one that comes after its question was given up is known by its generation.

/// Questions of one socket at once, at most: an id must have room for a generation.
const OUTSTANDING_MAX: usize = 1 << 15;

/// A question under way; times in nanoseconds since the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub due_ns: u64,
    pub sent_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// The last id given out here.
    id: u16,
    question: Option<Question>,
}

pub struct Flight {
    places: Box<[Place]>,
    free: Vec<u16>,
    /// Low bits of an id.
    mask: u16,
}

impl Flight {
    /// For so many at once, 1 to 32,768.
    pub fn new(outstanding: usize) -> Self {
        let outstanding = outstanding.clamp(1, OUTSTANDING_MAX);
        let mask = u16::try_from(outstanding.next_power_of_two() - 1).unwrap_or(u16::MAX >> 1);
        let places = (0..=mask).map(|id| Place { id, question: None }).collect();
        // The last is taken first.
        let free = (0..=mask).rev().skip(usize::from(mask) + 1 - outstanding).collect();
        Self { places, free, mask }
    }

    /// How many can be sent.
    pub fn room(&self) -> usize {
        self.free.len()
    }

    /// The id for a question; `None` if there is no room.
    pub fn depart(&mut self, question: Question) -> Option<u16> {
        let number = self.free.pop()?;
        let place = self.places.get_mut(usize::from(number))?;
        place.id = place.id.wrapping_add(self.mask).wrapping_add(1);
        place.question = Some(question);
        Some(place.id)
    }

    /// The question an answer belongs to; `None` if that was given up or never asked.
    pub fn arrive(&mut self, id: u16) -> Option<Question> {
        let number = id & self.mask;
        let place = self.places.get_mut(usize::from(number)).filter(|place| place.id == id)?;
        let question = place.question.take()?;
        self.free.push(number);
        Some(question)
    }

    /// Gives up those sent before; says how many.
    pub fn give_up(&mut self, before_ns: u64) -> u64 {
        let mut lost = 0;
        for (number, place) in (0..=self.mask).zip(self.places.iter_mut()) {
            if place.question.is_some_and(|question| question.sent_ns < before_ns) {
                place.question = None;
                self.free.push(number);
                lost += 1;
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_finds_its_question_once() {
        let mut flight = Flight::new(3);
        let question = |sent_ns| Question { due_ns: 0, sent_ns };
        let ids: Vec<u16> = (1..=3).map(|time| flight.depart(question(time)).unwrap()).collect();
        assert_eq!((flight.room(), flight.depart(question(9))), (0, None));
        assert_eq!(flight.arrive(ids[1]), Some(question(2)));
        assert_eq!(flight.arrive(ids[1]), None, "a second answer");
        assert_eq!(flight.give_up(2), 1);
        assert_eq!(flight.arrive(ids[0]), None, "too late");
        let again = flight.depart(question(4)).unwrap();
        assert!(!ids.contains(&again), "an id is not taken again at once");
        assert_eq!(flight.arrive(ids[2]), Some(question(3)));
        assert_eq!(flight.room(), 2);
    }

    #[test]
    fn ids_wrap() {
        for outstanding in [1, 64, OUTSTANDING_MAX, 1 << 20] {
            let mut flight = Flight::new(outstanding);
            for time in 0..200_000 {
                let id = flight.depart(Question { due_ns: 0, sent_ns: time }).unwrap();
                assert_eq!(flight.arrive(id).map(|question| question.sent_ns), Some(time));
            }
            assert_eq!(flight.room(), outstanding.min(OUTSTANDING_MAX));
        }
    }
}
